using System.Globalization;
using KvCache.Silo.Connections;
using KvCache.Silo.Http;
using KvCache.Silo.Options;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace KvCache.Silo.Settings;

/// <summary>What this machine gives the process: memory and open files. A silo that asks for more would be killed by the kernel without a
/// word, or fail somewhere in the middle.</summary>
internal static partial class MachineLimits
{
    /// <summary>Files and sockets without which a silo does not start.</summary>
    public const int MinFiles = 512;

    // What the process needs beside the arena when it holds nothing.
    private const long OwnBytes = 128L << 20;

    private const string SizeKey = $"{ArenaOptions.Section}:{nameof(ArenaOptions.Size)}";

    /// <summary>Writes an arena's share as bytes, and checks that the arena fits.</summary>
    /// <param name="configuration">Checked settings.</param>
    /// <param name="replaced">Receives the size.</param>
    /// <exception cref="FormatException">It does not fit, or is no share.</exception>
    /// <exception cref="IOException">Too few files may be open.</exception>
    public static void Check(IConfiguration configuration, Dictionary<string, string?> replaced)
    {
        if (FileLimit.Soft < MinFiles)
            throw new IOException(
                $"The process may have {FileLimit.Soft} files open, and a silo needs at least {MinFiles}; raise the limit (ulimit -n, or "
                + "LimitNOFILE of a service).");
        var arena = configuration.GetSection(ArenaOptions.Section);
        var path = arena[nameof(ArenaOptions.Path)] ?? "";
        var memory = MemoryOf("/proc", "/sys/fs/cgroup");
        var text = arena[nameof(ArenaOptions.Size)]?.Trim() ?? "";
        if (text.EndsWith('%'))
        {
            var most = Path.IsPathFullyQualified(path) && SpaceAt(path) is { } space ? Math.Min(memory.Bytes, space.Total) : memory.Bytes;
            if (!double.TryParse(
                text.AsSpan(0, text.Length - 1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var share)
                || share is not (> 0 and <= 100))
                throw new FormatException(
                    $"{SizeKey} is '{text}'; a share of the memory was expected, such as 75%, or a size such as 4GiB.");
            var bytes = (long)(most * share / 100) & -(1L << 20);
            replaced[SizeKey] = bytes.ToString(CultureInfo.InvariantCulture);
            text = replaced[SizeKey]!;
        }

        Fit(text.Length == 0 ? new ArenaOptions().Size : ByteSize.Parse(text), memory, path);
    }

    /// <summary>Says when fewer files may be open than connections are allowed.</summary>
    public static void WarnOfFiles(IServiceProvider services)
    {
        var data = services.GetRequiredService<IOptions<DataPlaneOptions>>().Value;
        var http = services.GetRequiredService<IOptions<HttpApiOptions>>().Value;
        var needed = MinFiles + data.MaxConnections + (2 * data.MaxUnproven) + http.MaxConnections;
        foreach (var (listen, more) in new[] { Of<RespOptions>(options => options.Listen), Of<LmCacheOptions>(options => options.Listen) })
            needed += listen.Length > 0 ? more.MaxConnections + more.MaxUnproven : 0;
        if (FileLimit.Soft < needed)
            LogFewFiles(services.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(MachineLimits).FullName!),
                FileLimit.Soft, needed);

        (string, ConnectionOptions) Of<T>(Func<T, string> listen)
            where T : ConnectionOptions => services.GetRequiredService<IOptions<T>>().Value is var options
            ? (listen(options), options)
            : default;
    }

    /// <summary>Memory that the process may use, and who says so.</summary>
    /// <param name="proc">Where the kernel tells about processes.</param>
    /// <param name="cgroups">Where control groups are mounted.</param>
    internal static (long Bytes, string Reason) MemoryOf(string proc, string cgroups)
    {
        var total = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        if (TryRead(Path.Combine(proc, "meminfo")) is { } info
            && info.Split('\n').FirstOrDefault(line => line.StartsWith("MemTotal:", StringComparison.Ordinal)) is { } line
            && long.TryParse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], NumberStyles.None, CultureInfo.InvariantCulture,
                out var kilobytes))
            total = kilobytes << 10;
        var best = (Bytes: total, Reason: "this machine has");
        foreach (var group in (TryRead(Path.Combine(proc, "self", "cgroup")) ?? "").Split('\n'))
        {
            // 0::/path in the unified hierarchy, N:controllers:/path in the older one. Limits of the groups above hold too.
            var parts = group.Split(':', 3);
            if (parts.Length < 3 || (parts[1].Length > 0 && !parts[1].Split(',').Contains("memory")))
                continue;
            var (root, file) = parts[1].Length == 0 ? (cgroups, "memory.max") : (Path.Combine(cgroups, "memory"), "memory.limit_in_bytes");
            for (var path = parts[2].Trim('/'); ; path = path[..Math.Max(0, path.LastIndexOf('/'))])
            {
                if (long.TryParse(TryRead(Path.Combine(root, path, file))?.Trim(), NumberStyles.None, CultureInfo.InvariantCulture,
                        out var limit) && limit < best.Bytes)
                    best = (limit, "the control group (container) of the process may use");
                if (path.Length == 0)
                    break;
            }
        }

        return best;
    }

    private static void Fit(ByteSize size, (long Bytes, string Reason) memory, string path)
    {
        if (size.Bytes > memory.Bytes - OwnBytes)
            throw new FormatException(
                $"{SizeKey} is {size}, and {memory.Reason} {new ByteSize(memory.Bytes)} of memory, of which the process needs some "
                    + "itself; at "
                + $"most {new ByteSize(Math.Max(0, memory.Bytes - OwnBytes))}, or a share such as 75%, was expected.");
        if (!Path.IsPathFullyQualified(path) || SpaceAt(path) is not { } space)
            return;
        // of a silo that was killed: it is replaced
        var own = new FileInfo(path) is { Exists: true, LinkTarget: null } old ? old.Length : 0;
        if (size.Bytes > space.Free + own)
            throw new FormatException(
                $"{SizeKey} is {size}, and the file system of {path} has {new ByteSize(space.Free + own)} free; at most that was expected. "
                + "Make it larger (size= of a tmpfs, --shm-size or an emptyDir of a container), or the arena smaller.");
    }

    private static (long Total, long Free)? SpaceAt(string path)
    {
        var folder = Path.GetDirectoryName(path);
        while (folder is not null && !Directory.Exists(folder))
            folder = Path.GetDirectoryName(folder);
        try
        {
            // File systems of the kernel's own, such as /proc, have no size; what is wrong there is told when the file is made.
            return folder is null || new DriveInfo(folder) is not { TotalSize: > 0 } drive
                ? null
                : (drive.TotalSize, drive.AvailableFreeSpace);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static string? TryRead(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "The process may have {Files} files open, and the connections that the settings allow need {Needed}; raise the limit "
        + "(ulimit -n, or LimitNOFILE of a service), or lower MaxConnections")]
    private static partial void LogFewFiles(ILogger logger, int files, int needed);
}
