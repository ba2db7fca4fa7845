using KvCache.Engine.Events;

namespace KvCache.Silo.Events;

/// <summary>An engine that this silo listens to.</summary>
internal sealed class EngineNode(string name, EventOptions.Engine settings, int maxBlocks)
{
    private bool _connected;

    public string Name => name;

    public EventOptions.Engine Settings => settings;

    /// <summary>What lies in its GPU, as far as it has told.</summary>
    public EngineBlocks Blocks { get; } = new(maxBlocks);

    /// <summary>Whether it can be heard now; of one that cannot, nothing is known.</summary>
    public bool IsConnected
    {
        get => Volatile.Read(ref _connected);
        set => Volatile.Write(ref _connected, value);
    }

    /// <summary>Whether a namespace is of its tenant and model. A namespace with a salt is not: salts are in the engine's hashes in a way
    /// that tokens do not show.</summary>
    public bool Serves(CacheNamespace ns) => settings.Tenant == ns.Tenant && settings.Model == ns.Model && ns.Salt.Length == 0
        && (settings.Revision.Length == 0 || settings.Revision == ns.Revision);

    /// <summary>Whether a silo with these addresses is the one beside it.</summary>
    public bool IsBeside(IEnumerable<string> endpoints) => endpoints.Any(endpoint => settings.Silo.Length > 0
        ? endpoint == settings.Silo
        : endpoint.StartsWith($"tcp:{settings.Endpoint[..settings.Endpoint.LastIndexOf(':')]}:", StringComparison.OrdinalIgnoreCase));
}
