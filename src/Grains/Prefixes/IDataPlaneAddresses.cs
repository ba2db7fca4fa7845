namespace KvCache.Grains;

/// <summary>Where the data plane of this silo listens.</summary>
public interface IDataPlaneAddresses
{
    /// <summary>Addresses in the form <c>tcp:host:port</c> or <c>unix:path</c>, best first; empty while nothing listens.</summary>
    string[] Endpoints { get; }
}
