namespace KvCache.Grains.Prefixes;

/// <summary>Where the data plane of this silo listens.</summary>
internal interface IDataPlaneAddresses
{
    /// <summary>Addresses in the form <c>tcp:host:port</c> or <c>unix:path</c>, best first; empty while nothing listens.</summary>
    string[] Endpoints { get; }
}
