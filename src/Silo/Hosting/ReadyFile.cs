using System.Text.Json;
using System.Text.Json.Serialization;
using KvCache.Files;
using KvCache.Silo.Data;
using KvCache.Silo.LmCache;
using KvCache.Silo.Options;
using KvCache.Silo.Resp;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;

namespace KvCache.Silo.Hosting;

/// <summary>
/// Addresses of a running silo, written to a file when it is ready: how a supervisor or a test learns ports that the
/// silo chose itself.
/// </summary>
/// <param name="ProcessId">Process of the silo.</param>
/// <param name="Endpoints">Where the data plane listens.</param>
/// <param name="Http">Address of health and metrics.</param>
/// <param name="SiloPort">Port between silos.</param>
/// <param name="GatewayPort">Port for Orleans clients, or 0 where there is no gateway.</param>
/// <param name="ArenaPath">The arena's file, or empty.</param>
/// <param name="Resp">Where the Redis endpoint listens, <c>ip:port</c>, or empty.</param>
/// <param name="LmCache">Where the <c>lm://</c> endpoint listens, <c>ip:port</c>, or empty.</param>
internal sealed record ReadyFile(
    int ProcessId, string[] Endpoints, string Http, int SiloPort, int GatewayPort, string ArenaPath, string Resp = "", string LmCache = "")
{
    /// <summary>Reads a file, or null while it is not there or not complete.</summary>
    public static ReadyFile? TryRead(string path)
    {
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize(File.ReadAllBytes(path), ReadyFileJsonContext.Default.ReadyFile) : null;
        }
        catch (Exception e) when (e is IOException or JsonException)
        {
            return null;
        }
    }

    internal static ReadyFile Describe(IServiceProvider services, SiloPorts ports, ArenaOptions arena) => new(
        Environment.ProcessId,
        services.GetRequiredService<BlockServer>().Endpoints,
        services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()?.Addresses.FirstOrDefault() ?? "",
        ports.Silo,
        ports.Gateway,
        arena.Path,
        services.GetRequiredService<RespServer>().Address?.ToString() ?? "",
        services.GetRequiredService<LmCacheServer>().Address?.ToString() ?? "");

    internal void Write(string path) =>
        RegularFile.Replace(path, JsonSerializer.SerializeToUtf8Bytes(this, ReadyFileJsonContext.Default.ReadyFile));
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ReadyFile))]
internal sealed partial class ReadyFileJsonContext : JsonSerializerContext;
