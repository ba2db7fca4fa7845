using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using LLama.Native;

namespace KvCache.LLamaSharp.Execution;

/// <summary>Stops a computation that runs in a context: a batch of a prompt takes seconds. Backends other than the CPU's may look at it
/// between batches only.</summary>
internal sealed unsafe class AbortFlag : IDisposable
{
    private readonly SafeLLamaContextHandle _context;
    private readonly int* _flag;

    public AbortFlag(SafeLLamaContextHandle context)
    {
        _context = context;
        _flag = (int*)NativeMemory.AllocZeroed(sizeof(int));
        NativeApi.llama_set_abort_callback(context, (nint)(delegate* unmanaged[Cdecl]<void*, byte>)&IsSet, (nint)_flag);
    }

    /// <summary>Raises the flag when a token is cancelled, until the result is disposed. The caller has the context's lock.</summary>
    public Raised On(CancellationToken cancellationToken)
    {
        Volatile.Write(ref *_flag, 0);
        return new Raised(this, cancellationToken.UnsafeRegister(state => Volatile.Write(ref *((AbortFlag)state!)._flag, 1), this));
    }

    /// <summary>The context must be gone, or never compute again.</summary>
    public void Dispose()
    {
        if (!_context.IsClosed)
            NativeApi.llama_set_abort_callback(_context, 0, 0);
        NativeMemory.Free(_flag);
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static byte IsSet(void* flag) => (byte)(Volatile.Read(ref *(int*)flag) != 0 ? 1 : 0);

    public readonly struct Raised(AbortFlag owner, CancellationTokenRegistration registration) : IDisposable
    {
        public void Dispose()
        {
            registration.Dispose(); // waits for a callback that runs
            Volatile.Write(ref *owner._flag, 0); // what follows a cancelled computation in the context is not cancelled
        }
    }
}
