using System.Runtime.InteropServices;

namespace KvCache.Silo.Connections;

/// <summary>How many files, sockets included, the process may have open at a time.</summary>
internal static partial class FileLimit
{
    private const int OpenFiles = 7; // RLIMIT_NOFILE of Linux
    private const int Unknown = 1 << 20;

    /// <summary>The limit that holds; .NET has raised it to the hard one.</summary>
    public static int Soft { get; } = Read();

    private static int Read() =>
        OperatingSystem.IsLinux() && GetLimit(OpenFiles, out var limit) == 0 ? (int)Math.Min(limit.Current, Unknown) : Unknown;

    [LibraryImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    private static partial int GetLimit(int resource, out Limits limits);

    [StructLayout(LayoutKind.Sequential)]
    private struct Limits
    {
        public ulong Current;
        public ulong Most;
    }
}
