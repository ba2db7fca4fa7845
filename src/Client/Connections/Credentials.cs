using KvCache.Engine.Security;
using KvCache.Files;

namespace KvCache.Client.Connections;

/// <summary>What a client shows to silos, and whom it trusts.</summary>
/// <param name="Tenant">Name of the tenant.</param>
/// <param name="Secret">Its secret.</param>
/// <param name="Tls">For endpoints that speak TLS.</param>
internal sealed record Credentials(string Tenant, ClientSecret Secret, TlsClient Tls);
