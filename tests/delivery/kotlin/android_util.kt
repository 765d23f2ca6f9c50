package android.util

object Log {
    fun i(tag: String?, msg: String): Int = TODO()

    fun w(tag: String?, msg: String?, tr: Throwable?): Int = TODO()
}
