package org.packlight.example

import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtException
import ai.onnxruntime.OrtSession
import android.content.Context
import android.os.Build
import android.util.Log
import androidx.work.BackoffPolicy
import androidx.work.Constraints
import androidx.work.ExistingPeriodicWorkPolicy
import androidx.work.NetworkType
import androidx.work.PeriodicWorkRequestBuilder
import androidx.work.WorkManager
import androidx.work.Worker
import androidx.work.WorkerParameters
import java.io.File
import java.io.IOException
import java.util.concurrent.TimeUnit
import org.packlight.Refused
import org.packlight.Updates

/** The network `letters`, as the app came with it or as it was updated since. */
class Letters(private val context: Context) {
    private val updates =
        Updates(
            "https://example.org/networks",
            "letters",
            File(context.filesDir, "letters"),
            context.assets.open("letters/1.root.json").use { it.readBytes() },
            "onnx",
            "android-${Build.VERSION.SDK_INT}",
        )

    /** Ask the host for a newer version; not on the main thread. */
    fun update(mostBytes: Long): Updates.Result = updates.update(mostBytes)

    /** The newest version that can be loaded; one that can not is never taken again. */
    fun session(): OrtSession {
        val environment = OrtEnvironment.getEnvironment()
        while (true) {
            val file = updates.current() ?: break
            try {
                return environment.createSession(file.path, OrtSession.SessionOptions())
            } catch (problem: OrtException) {
                Log.w(TAG, "${file.parentFile?.name} can not be loaded", problem)
                updates.markBad()
            }
        }
        val first = context.assets.open("letters/model.onnx").use { it.readBytes() }
        return environment.createSession(first, OrtSession.SessionOptions())
    }
}

/** Once a day, on a network that costs nothing, while there is charge and room. */
class UpdateWorker(context: Context, parameters: WorkerParameters) :
    Worker(context, parameters) {

    override fun doWork(): Result =
        try {
            val done = Letters(applicationContext).update(MOST_BYTES)
            Log.i(TAG, "letters ${done.version}, ${done.received} bytes received; ${done.note}")
            Result.success()
        } catch (problem: Refused) { // trying again soon is no use; tomorrow it is asked again
            Log.w(TAG, problem.message, problem)
            Result.failure()
        } catch (problem: IOException) { // goes on from where the download stopped
            Result.retry()
        }

    companion object {
        private const val MOST_BYTES = 20_000_000L

        /** Call it at each start of the app: what is scheduled already stays. */
        fun schedule(context: Context) {
            val constraints =
                Constraints.Builder()
                    .setRequiredNetworkType(NetworkType.UNMETERED)
                    .setRequiresBatteryNotLow(true)
                    .setRequiresStorageNotLow(true)
                    .build()
            val request =
                PeriodicWorkRequestBuilder<UpdateWorker>(1, TimeUnit.DAYS)
                    .setConstraints(constraints)
                    .setBackoffCriteria(BackoffPolicy.EXPONENTIAL, 30, TimeUnit.MINUTES)
                    .build()
            WorkManager.getInstance(context)
                .enqueueUniquePeriodicWork(TAG, ExistingPeriodicWorkPolicy.KEEP, request)
        }
    }
}

private const val TAG = "packlight-letters"
