using System.CommandLine;

namespace KvCache.Bench.Traces;

/// <summary>Where the workload traces lie. They are not part of the repository.</summary>
internal static class TraceFolder
{
    public static Option<DirectoryInfo> CreateOption() => new("--traces")
    {
        Description = "Folder with workload traces (*.jsonl).",
        HelpName = "DIR",
        DefaultValueFactory = _ => new DirectoryInfo(Path.Combine("..", "shared", "traces")),
    };

    /// <summary>The traces of a folder by name; none, and a line of the log, when there are none.</summary>
    public static List<FileInfo> Find(DirectoryInfo folder, Action<string> log)
    {
        List<FileInfo> files = folder.Exists ? [.. folder.EnumerateFiles("*.jsonl").OrderBy(file => file.Name, StringComparer.Ordinal)] : [];
        if (files.Count == 0)
            log($"SKIPPED: no traces (*.jsonl) in {folder.FullName}; name a folder with --traces.");
        return files;
    }
}
