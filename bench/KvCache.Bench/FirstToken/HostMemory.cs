using System.Globalization;

namespace KvCache.Bench.FirstToken;

/// <summary>What the host has left: a model that does not fit is to be refused before it makes the machine swap.</summary>
internal static class HostMemory
{
    /// <summary>Bytes that can be had without swapping, as the kernel estimates them; null where it does not say.</summary>
    public static long? Available() => File.Exists("/proc/meminfo") ? Parse(File.ReadLines("/proc/meminfo")) : null;

    internal static long? Parse(IEnumerable<string> lines)
    {
        const string Name = "MemAvailable:";
        var line = lines.FirstOrDefault(line => line.StartsWith(Name, StringComparison.Ordinal));
        return line is not null
            && long.TryParse(line.AsSpan(Name.Length).Trim().TrimEnd("kB").Trim(), CultureInfo.InvariantCulture, out var kibibytes)
            ? kibibytes << 10
            : null;
    }
}
