package androidx.work

import android.content.Context
import java.util.concurrent.TimeUnit

class WorkerParameters

abstract class ListenableWorker(context: Context, parameters: WorkerParameters) {
    val applicationContext: Context = TODO()

    abstract class Result {
        companion object {
            fun success(): Result = TODO()

            fun retry(): Result = TODO()

            fun failure(): Result = TODO()
        }
    }
}

abstract class Worker(context: Context, parameters: WorkerParameters) :
    ListenableWorker(context, parameters) {
    abstract fun doWork(): Result
}

enum class NetworkType { NOT_REQUIRED, CONNECTED, UNMETERED, NOT_ROAMING, METERED }

enum class BackoffPolicy { EXPONENTIAL, LINEAR }

enum class ExistingPeriodicWorkPolicy { KEEP, UPDATE, CANCEL_AND_REENQUEUE }

class Constraints {
    class Builder {
        fun setRequiredNetworkType(networkType: NetworkType): Builder = TODO()

        fun setRequiresBatteryNotLow(requiresBatteryNotLow: Boolean): Builder = TODO()

        fun setRequiresStorageNotLow(requiresStorageNotLow: Boolean): Builder = TODO()

        fun build(): Constraints = TODO()
    }
}

class PeriodicWorkRequest {
    class Builder {
        fun setConstraints(constraints: Constraints): Builder = TODO()

        fun setBackoffCriteria(policy: BackoffPolicy, delay: Long, unit: TimeUnit): Builder = TODO()

        fun build(): PeriodicWorkRequest = TODO()
    }
}

inline fun <reified W : ListenableWorker> PeriodicWorkRequestBuilder(
    repeatInterval: Long,
    repeatIntervalTimeUnit: TimeUnit,
): PeriodicWorkRequest.Builder = TODO()

abstract class WorkManager {
    abstract fun enqueueUniquePeriodicWork(
        uniqueWorkName: String,
        existingPeriodicWorkPolicy: ExistingPeriodicWorkPolicy,
        request: PeriodicWorkRequest,
    ): Any

    companion object {
        fun getInstance(context: Context): WorkManager = TODO()
    }
}
