using System.Globalization;
using KvCache.Bench.Processes;
using KvCache.Engine.Wire;

namespace KvCache.Bench.Silos;

/// <summary>A silo in a process of its own whose index is full of blocks: <see cref="IndexedSiloHost"/>.</summary>
internal sealed class IndexedSilo : IDisposable
{
    private readonly OwnServer _server;

    // The variable is as in the silo program's own runtime configuration.
    private IndexedSilo(int blocks) => _server = OwnServer.Start(
        "indexed-silo", ["--blocks", blocks.ToString(CultureInfo.InvariantCulture)], ("DOTNET_ThreadPool_UnfairSemaphoreSpinLimit", "0"));

    public static IndexedSilo Start(int blocks) => new(blocks);

    /// <summary>A connection as the tenant of a silo without configured tenants.</summary>
    public BlockConnection Connect(string transport) => BlockConnection.Connect(
        SiloEndpoint.TryParse(_server.Addresses.First(address => address.StartsWith(transport, StringComparison.Ordinal)))!, "default", "");

    public void Dispose() => _server.Dispose();
}
