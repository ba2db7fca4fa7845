using System.CommandLine;

namespace KvCache.Bench.Traces;

/// <summary>Where the workload traces lie. They are not part of the repository.</summary>
internal static class TraceFolder
{
    public static Option<DirectoryInfo> CreateOption() => new("--traces")
    {
        Description = "Folder with workload traces (*.jsonl, *.jsonl.gz).",
        HelpName = "DIR",
        DefaultValueFactory = _ => new DirectoryInfo(Path.Combine("..", "shared", "traces")),
    };

    /// <summary>The traces of a folder by name, compressed ones behind the others; none when there are none.</summary>
    public static List<FileInfo> Find(DirectoryInfo folder) => !folder.Exists ? [] :
    [
        .. folder.EnumerateFiles("*.jsonl").OrderBy(file => file.Name, StringComparer.Ordinal),
        .. folder.EnumerateFiles("*.jsonl.gz").OrderBy(file => file.Name, StringComparer.Ordinal),
    ];

    /// <summary>What is said where there are none.</summary>
    public static string Missing(DirectoryInfo folder) => $"no traces (*.jsonl) in {folder.FullName}; name a folder with --traces.";
}
