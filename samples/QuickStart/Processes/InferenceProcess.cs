using System.Globalization;
using System.Text.Json;
using KvCache.InferenceNode;
using KvCache.Processes;
using KvCache.Silo.Hosting;

namespace KvCache.QuickStart.Processes;

/// <summary>What an inference node said.</summary>
/// <param name="Results">One result a prompt.</param>
/// <param name="Statistics">What its cache did.</param>
internal sealed record InferenceRun(IReadOnlyList<PromptResult> Results, KvCacheStatistics Statistics);

/// <summary>Starts inference nodes: each run is a new process that knows nothing of those before it.</summary>
internal sealed record InferenceProcess
{
    /// <summary>Model directory or file.</summary>
    public required string Model { get; init; }

    /// <summary>Tokens of a cache block.</summary>
    public required int TokensPerBlock { get; init; }

    /// <summary>Most tokens to generate for a prompt.</summary>
    public required int MaxTokens { get; init; }

    /// <summary>Data-plane addresses of silos; none to run without a cache.</summary>
    public IReadOnlyList<string> Endpoints { get; init; } = [];

    /// <summary>Tenant of the cache.</summary>
    public string Tenant { get; init; } = "default";

    /// <summary>Secret of the tenant.</summary>
    public string Secret { get; init; } = "";

    /// <summary>Silos that are to keep what the node stores.</summary>
    public int Replicas { get; init; } = 1;

    /// <summary>Whether the node overwrites what it loads with zeros, as a control.</summary>
    public bool ZeroLoaded { get; init; }

    /// <summary>Continues prompts in a new process.</summary>
    /// <param name="prompts">The prompts.</param>
    /// <param name="folder">Where the file with the prompts is written.</param>
    /// <param name="cancellationToken">Stops the process.</param>
    /// <exception cref="ChildProcessException">It failed; the message has its last lines.</exception>
    public async Task<InferenceRun> RunAsync(IReadOnlyList<string> prompts, string folder, CancellationToken cancellationToken = default)
    {
        var file = Path.Combine(folder, "prompts.json");
        await File.WriteAllTextAsync(file, JsonSerializer.Serialize(prompts), cancellationToken);
        string[] arguments =
        [
            "generate", "--model", Model, "--prompts", file, "--json", "--statistics", "--tenant", Tenant,
            "--block-tokens", TokensPerBlock.ToString(CultureInfo.InvariantCulture),
            "--max-tokens", MaxTokens.ToString(CultureInfo.InvariantCulture),
            "--replicas", Replicas.ToString(CultureInfo.InvariantCulture),
            .. Endpoints.SelectMany(endpoint => new[] { "--cache", endpoint }),
            .. ZeroLoaded ? ["--zero-loaded"] : Array.Empty<string>(),
        ];
        var output = new List<string>();
        await using var process =
            ChildProcess.Start(ProgramCommand.Own("KvCache.InferenceNode.dll", arguments, ("KVCACHE_SECRET", Secret)), output.Add);
        var exitCode = await process.WaitAsync(cancellationToken);
        return exitCode == 0 && output.Count == prompts.Count + 1
            ? new InferenceRun([.. output.SkipLast(1).Select(NodeOutput.ReadResult)], NodeOutput.ReadStatistics(output[^1]))
            : throw new ChildProcessException(
                $"The inference node ended with code {exitCode} and {output.Count} of {prompts.Count + 1} lines:\n{process.LastLines}");
    }
}
