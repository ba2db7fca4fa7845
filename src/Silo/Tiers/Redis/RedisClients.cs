using StackExchange.Redis;
using StackExchange.Redis.Configuration;

namespace KvCache.Silo.Tiers.Redis;

/// <summary>Settings of the general Redis client, which Orleans' providers use: the same server, proof and encryption as the tier's own
/// connections.</summary>
internal static class RedisClients
{
    public static ConfigurationOptions Configure(RedisEndpoint endpoint)
    {
        var connection = new ConfigurationOptions
        {
            User = endpoint.User,
            DefaultDatabase = endpoint.Database,
            AbortOnConnectFail = false, // a silo starts without Redis
            Defaults = new PasswordOfNow(endpoint),
        };
        connection.EndPoints.Add(endpoint.Address);
        if (endpoint.Tls is not { } tls)
            return connection;
        connection.Ssl = true;
        connection.SslClientAuthenticationOptions = _ => tls.OptionsFor(endpoint.Host, out var _);
        return connection;
    }

    // Asked for with every connection that is made.
    private sealed class PasswordOfNow(RedisEndpoint endpoint) : DefaultOptionsProvider
    {
        public override string? Password => endpoint.Password;
    }
}
