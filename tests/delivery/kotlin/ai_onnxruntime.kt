package ai.onnxruntime

class OrtException(message: String) : Exception(message)

class OrtSession : AutoCloseable {
    class SessionOptions

    override fun close() = TODO()
}

class OrtEnvironment {
    fun createSession(modelPath: String, options: OrtSession.SessionOptions): OrtSession = TODO()

    fun createSession(modelArray: ByteArray, options: OrtSession.SessionOptions): OrtSession = TODO()

    companion object {
        fun getEnvironment(): OrtEnvironment = TODO()
    }
}
