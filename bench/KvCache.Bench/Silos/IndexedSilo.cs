using System.Globalization;
using KvCache.Bench.Processes;
using KvCache.Engine.Wire;

namespace KvCache.Bench.Silos;

/// <summary>A silo in a process of its own whose index is full of blocks: <see cref="IndexedSiloHost"/>.</summary>
internal sealed class IndexedSilo : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("kvcache-bench-");
    private readonly ChildProcess _process;
    private readonly List<string> _endpoints = [];

    private IndexedSilo(int blocks)
    {
        // As in the silo program's own runtime configuration.
        _process = ChildProcess.OwnWith(
            [("DOTNET_ThreadPool_UnfairSemaphoreSpinLimit", "0")],
            "indexed-silo", "--folder", _folder.FullName, "--blocks", blocks.ToString(CultureInfo.InvariantCulture));
        while (_process.Output.ReadLine() is { Length: > 0 } endpoint)
            _endpoints.Add(endpoint);
        if (_endpoints.Count == 0)
        {
            Dispose();
            throw new InvalidOperationException("The silo did not start; its error is above.");
        }
    }

    public static IndexedSilo Start(int blocks) => new(blocks);

    /// <summary>A connection as the tenant of a silo without configured tenants.</summary>
    public BlockConnection Connect(string transport) =>
        BlockConnection.Connect(SiloEndpoint.TryParse(_endpoints.First(address => address.StartsWith(transport, StringComparison.Ordinal)))!, "default", "");

    public void Dispose()
    {
        _process.Dispose();
        _folder.Delete(recursive: true);
    }
}
