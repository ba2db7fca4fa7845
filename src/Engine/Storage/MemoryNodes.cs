using System.Globalization;
using System.Runtime.InteropServices;

namespace KvCache.Engine.Storage;

/// <summary>
/// The NUMA nodes of the machine. A processor reads the memory of another node more slowly, and all of a node's is behind the same few
/// channels: what everybody reads lies best on all of them in turn.
/// </summary>
internal static partial class MemoryNodes
{
    private const string NodesWithMemory = "/sys/devices/system/node/has_memory";
    private const int Most = 64; // bits of a mask

    private const int PolicyInterleave = 3;

    private static readonly nint BindCall = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 235 : 237;

    /// <summary>Nodes with memory, as a mask; 0 where that is not known.</summary>
    public static ulong Mask { get; } = Read();

    /// <summary>Number of nodes with memory, at least 1.</summary>
    public static int Count => Math.Max(1, System.Numerics.BitOperations.PopCount(Mask));

    /// <summary>Asks for memory of all nodes in turn, for a mapping that nobody has touched yet. Does nothing where there is one node, or
    /// the system refuses: the memory is then where the thread runs that touches it.</summary>
    public static void Interleave(nint address, long length)
    {
        if (Count < 2)
            return;
        var mask = Mask;
        _ = Call(BindCall, address, (nuint)length, PolicyInterleave, in mask, Most + 1, 0);
    }

    /// <summary>Reads a list of numbers, such as <c>0-1,3</c>.</summary>
    /// <returns>The mask of those below 64; 0 when it is no such list.</returns>
    internal static ulong Parse(string list)
    {
        var mask = 0UL;
        foreach (var range in list.Trim().Split(','))
        {
            var ends = range.Split('-');
            if (ends.Length > 2 || !TryParse(ends[0], out var first) || !TryParse(ends[^1], out var last))
                return 0;
            for (var node = first; node <= Math.Min(last, Most - 1); node++)
                mask |= 1UL << node;
        }

        return mask;
    }

    private static ulong Read()
    {
        try
        {
            return OperatingSystem.IsLinux() && Environment.Is64BitProcess ? Parse(File.ReadAllText(NodesWithMemory)) : 0;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return 0; // a kernel that knows no nodes
        }
    }

    private static bool TryParse(string text, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial nint Call(nint number, nint address, nuint length, nint policy, in ulong nodes, nint bits, nint flags);
}
