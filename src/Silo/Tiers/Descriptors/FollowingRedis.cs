using System.Reflection;
using System.Runtime.ExceptionServices;
using KvCache.Silo.Tiers.Redis;
using StackExchange.Redis;
using StackExchange.Redis.Configuration;

namespace KvCache.Silo.Tiers.Descriptors;

/// <summary>
/// The general Redis client that Orleans' storage uses, made anew whenever the tier has found that its server is not the one that is
/// wanted: by itself that client stays with the server that it has connected to, also when that has become a replica.
/// </summary>
internal sealed class FollowingRedis(RedisTier tier, RedisTierOptions options) : IDisposable
{
    private readonly Lock _lock = new();
    private ConnectionMultiplexer? _current;
    private int _server;
    private bool _disposed;

    /// <summary>A client whose database is always that of the server of now.</summary>
    public IConnectionMultiplexer Client
    {
        get
        {
            var client = DispatchProxy.Create<IConnectionMultiplexer, Forwarder>();
            var database = DispatchProxy.Create<IDatabase, Forwarder>();
            ((Forwarder)(object)database).Target = _ => Current().GetDatabase();
            ((Forwarder)(object)client).Target = method => method.Name == nameof(IConnectionMultiplexer.GetDatabase) ? database : Current();
            return client;
        }
    }

    /// <summary>Connects ahead of the first call, which has little time. Where that fails, calls do it.</summary>
    public async Task ConnectAsync()
    {
        try
        {
            await Task.Run(Current).ConfigureAwait(false);
        }
        catch (Tiers.Redis.RedisException)
        {
            // No sentinel answers.
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            _disposed = true;
            _current?.Dispose();
        }
    }

    private ConnectionMultiplexer Current()
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_current is not null && _server == tier.Server)
                return _current;
            _server = tier.Server;
            _current?.Dispose();
            return _current = ConnectionMultiplexer.Connect(Configure(RedisEndpoint.Create(options)));
        }
    }

    private ConfigurationOptions Configure(RedisEndpoint endpoint)
    {
        var timeout = (int)options.CommandTimeout.TotalMilliseconds;
        var connection = new ConfigurationOptions
        {
            User = endpoint.User,
            DefaultDatabase = endpoint.Database,
            AbortOnConnectFail = false, // a silo starts without Redis
            Defaults = new PasswordOfNow(endpoint),
            ClientName = "kvcache-descriptors",
            BacklogPolicy = BacklogPolicy.FailFast,
            ConnectTimeout = (int)options.ConnectTimeout.TotalMilliseconds,
            AsyncTimeout = timeout,
            SyncTimeout = timeout,

            // Keys and channels of its own, outside of what an ACL for the key prefix allows.
            ConfigurationChannel = "",
            TieBreaker = "",
        };
        connection.EndPoints.Add(endpoint.Locate(Deadline.After(options.ConnectTimeout)));
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

    // Not sealed: the runtime derives the proxy from it.
#pragma warning disable CA1852
    private class Forwarder : DispatchProxy
#pragma warning restore CA1852
    {
        public Func<MethodInfo, object> Target { get; set; } = null!;

        protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
        {
            var target = Target(targetMethod!);
            if (target is IDatabase && targetMethod!.ReturnType == typeof(IDatabase))
                return target;
            try
            {
                return targetMethod!.Invoke(target, args);
            }
            catch (TargetInvocationException e)
            {
                ExceptionDispatchInfo.Throw(e.InnerException!);
                throw;
            }
        }
    }
}
