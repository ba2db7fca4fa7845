// A prefix is a virtual grain: this program obtains the grain of a prefix through the gateway of a silo, stores its KV once, and reads it
// layer by layer. docs/security.md has the same with TLS (KVCACHE_CA).
//   KvCache__Tenants__acme__Secret='a secret of the tenant acme' dotnet KvCache.Silo.dll --gateway-port 7411
//   KVCACHE_SECRET='a secret of the tenant acme' dotnet run --project samples/OrleansClient -- 127.0.0.1:7411 acme
using System.Net;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using KvCache;
using KvCache.Orleans;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Configuration;
using Orleans.Connections.Security;
using Orleans.Hosting;

if (args is not [var gateway, var tenant])
{
    Console.Error.WriteLine(
        "Usage: KvCache.OrleansClient GATEWAY TENANT, for example 127.0.0.1:7411 acme, with the tenant's secret in KVCACHE_SECRET.");
    return 2;
}

var builder = Host.CreateApplicationBuilder();
builder.Logging.SetMinimumLevel(LogLevel.None); // what goes wrong is said below
builder.UseOrleansClient(client =>
{
    client.UseStaticClustering(IPEndPoint.Parse(gateway));
    client.Configure<ClusterOptions>(cluster => cluster.ClusterId = cluster.ServiceId = "kvcache"); // KvCache:Cluster:Name of the silos
    client.UseKvCacheTenant(tenant, Environment.GetEnvironmentVariable("KVCACHE_SECRET") ?? "");

    // Where the silos have certificates: the authority that is trusted, and which name a silo's certificate must have.
    if (Environment.GetEnvironmentVariable("KVCACHE_CA") is { Length: > 0 } authority)
        client.UseTls(tls => tls.OnAuthenticateAsClient = (connection, handshake) =>
        {
            var ssl = (SslClientAuthenticationOptions)handshake.SslClientAuthenticationOptions;
            ssl.TargetHost = ((IPEndPoint)connection.RemoteEndPoint!).Address.ToString();
            ssl.CertificateChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
            };
            ssl.CertificateChainPolicy.CustomTrustStore.ImportFromPemFile(authority);
        });
});
using var host = builder.Build();
try
{
    await host.StartAsync();
}
catch (Exception e)
{
    // Refused: the message says why. Otherwise the innermost one does.
    Console.Error.WriteLine((e is UnauthorizedAccessException ? e : e.GetBaseException()).Message);
    return 1;
}

// What makes KV interchangeable, and the tokens whose KV it is: together they name the grain.
var ns = new CacheNamespace
{
    Tenant = tenant,
    Model = "a-small-model",
    Layout = KvLayout.Create(layers: 4, kvHeads: 2, headDim: 16, KvDataType.Float16, tokensPerBlock: 16),
};
int[] tokens = [.. Enumerable.Range(1, 16)];
var prefix = host.Services.GetRequiredService<IGrainFactory>().GetPrefix(ns, tokens);

if (await prefix.DescribeAsync() is { } known)
{
    Console.WriteLine($"Somebody has stored it: {known.Layers} layers, {known.Bytes} bytes.");
}
else
{
    var computed = new byte[ns.Layout.BlockBytes];
    Random.Shared.NextBytes(computed); // what a model would compute
    Console.WriteLine($"Nobody has stored it; stored now: {await prefix.StoreAsync(ns, computed, timeToLive: TimeSpan.FromHours(1))}.");
}

for (var layer = 0; layer < ns.Layout.Layers; layer++)
{
    if (await prefix.ReadLayersAsync(layer, 1) is not { Inline: { } bytes } reading)
        Console.WriteLine($"Layer {layer} is not there, or too large for a grain call: the data plane is for that.");
    else
        Console.WriteLine($"Layer {layer} of generation {reading.Generation:x16}: {bytes.Length} bytes, CRC-32 {reading.Checksums[0]:x8}.");
}

Console.WriteLine($"Kept for a minute, whatever else comes: {await prefix.PinAsync(TimeSpan.FromMinutes(1))}.");
await host.StopAsync();
return 0;
