using System.Diagnostics;
using System.Runtime.InteropServices;
using LLama.Native;

namespace KvCache.LLamaSharp.Models;

/// <summary>What the loaded llama.cpp tells and LLamaSharp does not ask.</summary>
internal static unsafe partial class LlamaLibrary
{
    private static readonly Lazy<string> KnownBuild = new(ReadBuild);

    /// <summary>The commit that the library was built from: states are only exchanged between equal ones.</summary>
    public static string Build => KnownBuild.Value;

    /// <summary>Whether a model has recurrent layers beside its attention; false where the library cannot be asked.</summary>
    public static bool IsHybrid(SafeLlamaModelHandle model)
    {
        if (Find("llama", "llama_model_is_hybrid") is not { } address)
            return false;
        var added = false;
        model.DangerousAddRef(ref added);
        try
        {
            return ((delegate* unmanaged[Cdecl]<nint, byte>)address)(model.DangerousGetHandle()) != 0;
        }
        finally
        {
            model.DangerousRelease();
        }
    }

    /// <summary>An environment variable as llama.cpp sees it: on Unix what <see cref="Environment"/> sets does not reach it.</summary>
    public static string? Variable(string name) => OperatingSystem.IsWindows()
        ? Environment.GetEnvironmentVariable(name)
        : Marshal.PtrToStringUTF8(GetVariable(name));

    private static string ReadBuild()
    {
        NativeApi.llama_empty_call(); // LLamaSharp loads the library with its first call
        var commit = Find("ggml-base", "ggml_commit") is { } address
            ? Marshal.PtrToStringUTF8(((delegate* unmanaged[Cdecl]<nint>)address)())
            : null;
        // A library that does not know its commit: that of LLamaSharp's package goes with one.
        return string.IsNullOrEmpty(commit) || commit == "unknown"
            ? $"LLamaSharp {typeof(NativeApi).Assembly.GetName().Version}"
            : commit;
    }

    [LibraryImport("libc", EntryPoint = "getenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint GetVariable(string name);

    // The library is loaded already; this only finds it. Names: libllama.so, llama.dll, libllama.dylib.
    private static nint? Find(string library, string function)
    {
        using var process = Process.GetCurrentProcess();
        foreach (ProcessModule module in process.Modules)
        {
            if (Path.GetFileNameWithoutExtension(module.ModuleName) is var name && (name == library || name == "lib" + library)
                && NativeLibrary.TryLoad(module.FileName, out var handle)
                && NativeLibrary.TryGetExport(handle, function, out var address))
                return address;
        }

        return null;
    }
}
