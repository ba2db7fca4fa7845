using System.Runtime.InteropServices;

namespace KvCache.Engine.Wire;

/// <summary>
/// How long the kernel lets a thread of the data plane run at a time before others are looked at. All threads keep the same share of the
/// processors; one with short slices gets its share sooner, in more pieces.
/// </summary>
/// <remarks>
/// Linux 6.12 and later (<c>sched_setattr</c>, whose runtime is the slice of a normal thread in the scheduler EEVDF); elsewhere these calls
/// do nothing. A thread that waits for
/// a match otherwise stands behind every thread that moves bytes, for milliseconds each. Threads that such a thread starts do not inherit
/// its slices.
/// </remarks>
internal static unsafe partial class ThreadSlice
{
    private const ulong Short = 100_000, Long = 5_000_000; // ns; the least that the kernel takes, and a few of its ticks
    private const uint Normal = 0, Batch = 3;
    private const ulong ResetOnFork = 1;

    /// <summary>The calling thread answers small requests, or waits for their answers.</summary>
    public static void ForSmallRequests() => Set(Short);

    /// <summary>The calling thread moves blocks.</summary>
    public static void ForBulk() => Set(Long);

    private static void Set(ulong nanoseconds)
    {
        var (set, get) = RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 => (314, 315),
            Architecture.Arm64 => (274, 275),
            _ => default,
        };
        Attributes attributes;
        if (!OperatingSystem.IsLinux() || set == 0 || Call(get, 0, &attributes, sizeof(Attributes), 0) != 0
            || attributes.Policy is not (Normal or Batch))
            return; // a policy with priorities was chosen for the whole process: that is somebody's decision

        attributes.Flags |= ResetOnFork;
        attributes.Runtime = nanoseconds;
        _ = Call(set, 0, &attributes, 0, 0); // a sandbox may forbid it: nothing is lost but speed
    }

    // The C library has no names for these calls before glibc 2.41.
    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial nint Call(nint number, nint thread, Attributes* attributes, nint third, nint fourth);

    // struct sched_attr of Linux, its first version.
    [StructLayout(LayoutKind.Sequential)]
    private struct Attributes
    {
        public uint Size;
        public uint Policy;
        public ulong Flags;
        public int Nice;
        public uint Priority;
        public ulong Runtime;
        public ulong Deadline;
        public ulong Period;
    }
}
