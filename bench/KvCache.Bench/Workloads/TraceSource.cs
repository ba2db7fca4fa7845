using System.CommandLine;
using KvCache.Benchmarks;

namespace KvCache.Bench.Workloads;

/// <summary>Requests with the name of what they came from.</summary>
/// <param name="Name">File or workload.</param>
/// <param name="Requests">In the order of time.</param>
internal sealed record NamedTrace(string Name, IReadOnlyList<TraceRequest> Requests);

/// <summary>Where a scenario's requests come from: files of traces, or workloads that are made up.</summary>
/// <param name="standard">Workloads where the command line names nothing.</param>
internal sealed class TraceSource(params string[] standard)
{
    private readonly Option<FileInfo[]> _files = new("--trace")
    {
        Description = "Traces (*.jsonl, *.jsonl.gz).",
        HelpName = "FILE",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<DirectoryInfo?> _folder = FolderOption();

    private readonly Option<string[]> _workloads = WorkloadOption(standard);

    private readonly Option<int> _seed =
        new("--seed") { Description = "Another one makes another workload of the same kind.", DefaultValueFactory = _ => 1 };

    public IEnumerable<Option> Options => [_files, _folder, _workloads, _seed];

    /// <summary>A folder of traces.</summary>
    public static Option<DirectoryInfo?> FolderOption() =>
        new("--traces") { Description = "Folder with traces (*.jsonl, *.jsonl.gz): all of them.", HelpName = "DIR" };

    /// <summary>Why there is nothing to replay; null where there is.</summary>
    public string? Missing(ParseResult arguments) =>
        arguments.GetValue(_files) is not { Length: > 0 } && arguments.GetValue(_folder) is { } folder && Find(folder).Count == 0
            ? $"no traces (*.jsonl) in {folder.FullName}; without --traces a workload is made up."
            : null;

    /// <summary>What the command line names, one after the other, each read or made when it is its turn.</summary>
    /// <param name="arguments">Command line.</param>
    /// <param name="requests">How long a workload is that is made up; files are read whole.</param>
    /// <exception cref="IOException">A file cannot be read, or a line is not a request.</exception>
    public IEnumerable<NamedTrace> Read(ParseResult arguments, int requests)
    {
        IEnumerable<FileInfo> files = arguments.GetValue(_files) is { Length: > 0 } named
            ? named
            : arguments.GetValue(_folder) is { } folder ? Find(folder) : [];
        var read = files.Select(file => new NamedTrace(file.Name, TraceRequest.Read(file.FullName)));
        var seed = arguments.GetValue(_seed);
        return files.Any()
            ? read
            : arguments.GetRequiredValue(_workloads).Select(name => new NamedTrace(name, Workload.Make(name, requests, seed)));
    }

    private static List<FileInfo> Find(DirectoryInfo folder) => !folder.Exists ? [] :
    [
        .. folder.EnumerateFiles("*.jsonl").OrderBy(file => file.Name, StringComparer.Ordinal),
        .. folder.EnumerateFiles("*.jsonl.gz").OrderBy(file => file.Name, StringComparer.Ordinal),
    ];

    private static Option<string[]> WorkloadOption(string[] standard)
    {
        var option = new Option<string[]>("--workload")
        {
            Description = $"Made-up traffic, where no trace is named. {Workload.Help}",
            HelpName = "NAME,...",
            DefaultValueFactory = _ => standard,
            CustomParser = result => [.. result.Tokens.SelectMany(token => token.Value.Split(','))],
        };
        option.Validators.Add(result =>
        {
            foreach (var name in result.GetValueOrDefault<string[]>()!.Where(name => !Workload.Names.Contains(name)))
                result.AddError($"There is no workload '{name}'; one of {string.Join(", ", Workload.Names)} was expected.");
        });
        return option;
    }
}
