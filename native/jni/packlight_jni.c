/* org.packlight.Packlight for Java and Android: bytes in, bytes out. */
#include <jni.h>
#include <stdlib.h>

#include "packlight.h"

static void fail(JNIEnv *env, const char *type, const char *text)
{
    jclass exception = (*env)->FindClass(env, type);
    if (exception)
        (*env)->ThrowNew(env, exception, text);
}

/* A new Java array of the unpacked bytes; null after a failure, which has been thrown. */
static jbyteArray unpack(JNIEnv *env, const plt_file *file)
{
    jbyteArray result = (*env)->NewByteArray(env, (jsize)file->size);
    jbyte *out = result ? (*env)->GetByteArrayElements(env, result, NULL) : NULL;
    void *work = out ? malloc(plt_work_size()) : NULL;
    int problem = PLT_OK;

    if (work)
        problem = plt_unpack(file, out, (size_t)file->size, work, plt_work_size());
    if (out)
        (*env)->ReleaseByteArrayElements(env, result, out, work && !problem ? 0 : JNI_ABORT);
    free(work);
    if (problem)
        fail(env, "java/io/IOException", plt_error_text(problem));
    else if (!work && !(*env)->ExceptionCheck(env))
        fail(env, "java/lang/OutOfMemoryError", "no memory to unpack in");
    return work && !problem ? result : NULL;
}

/* What the header promises is checked before anything is allocated for it. */
static jbyteArray checked(JNIEnv *env, plt_file *file, const void *in, size_t in_size,
                          const void *base, size_t base_size, jlong max_output)
{
    int problem = plt_open(file, in, in_size);

    if (!problem && base && file->needs_base)
        problem = plt_set_base(file, base, base_size);
    if (problem)
        fail(env, "java/io/IOException", plt_error_text(problem));
    else if (max_output < 0 || file->size > (uint64_t)max_output)
        fail(env, "java/io/IOException", "larger than maxOutput when unpacked");
    else if (file->size > INT32_MAX - 8)
        fail(env, "java/io/IOException", "larger than a Java array when unpacked");
    else
        return unpack(env, file);
    return NULL;
}

JNIEXPORT jbyteArray JNICALL Java_org_packlight_Packlight_unpack(JNIEnv *env, jclass self,
                                                                 jbyteArray packed,
                                                                 jbyteArray base,
                                                                 jlong max_output)
{
    jbyteArray result = NULL;
    plt_file file;

    (void)self;
    if (!packed) {
        fail(env, "java/lang/NullPointerException", "packed");
        return NULL;
    }
    jbyte *in = (*env)->GetByteArrayElements(env, packed, NULL);
    jbyte *old = in && base ? (*env)->GetByteArrayElements(env, base, NULL) : NULL;
    if (in && (old || !base))
        result = checked(env, &file, in, (size_t)(*env)->GetArrayLength(env, packed), old,
                         base ? (size_t)(*env)->GetArrayLength(env, base) : 0, max_output);
    if (old)
        (*env)->ReleaseByteArrayElements(env, base, old, JNI_ABORT);
    if (in)
        (*env)->ReleaseByteArrayElements(env, packed, in, JNI_ABORT);
    return result;
}
