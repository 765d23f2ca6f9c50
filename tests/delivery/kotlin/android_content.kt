// What the example uses of Android, to compile it without; nothing here runs.
package android.content

import android.content.res.AssetManager
import java.io.File

abstract class Context {
    abstract val filesDir: File
    abstract val assets: AssetManager
    abstract val applicationContext: Context
}
