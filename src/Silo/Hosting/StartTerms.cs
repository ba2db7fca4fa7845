namespace KvCache.Silo.Hosting;

/// <summary>What a start of the silo is told beside its configuration.</summary>
/// <param name="Http">Addresses of the HTTP API.</param>
/// <param name="Ports">Orleans' ports.</param>
/// <param name="ReadyFile">File that is written when the silo is ready; null for none.</param>
/// <param name="Rejoin">Whether a silo that the cluster has declared dead comes back by itself.</param>
internal sealed record StartTerms(string Http, SiloPorts Ports, string? ReadyFile, bool Rejoin);
