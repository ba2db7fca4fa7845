using KvCache.Silo.Options;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;

namespace KvCache.Silo.Hosting;

/// <summary>Looks at Redis before anything else starts: what only whoever runs the silo can put right ends the start with a
/// sentence.</summary>
internal static class RedisStart
{
    // A Redis that starts together with the silo.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);

    /// <exception cref="IOException">Redis refuses this silo; or it has the list of members, and cannot be reached.</exception>
    public static async Task CheckAsync(IConfiguration configuration, CancellationToken cancellationToken)
    {
        var options = configuration.GetSection(RedisTierOptions.Section).Get<RedisTierOptions>() ?? new RedisTierOptions();
        var cluster = configuration.GetSection(ClusterOptions.Section).Get<ClusterOptions>() ?? new ClusterOptions();
        if (options.ConnectionString.Length == 0)
            return;
        var endpoint = RedisEndpoint.Create(options);
        var hasMembers = cluster.Mode == ClusterMode.Redis;
        for (var end = Deadline.After(Patience); ;)
        {
            try
            {
                await Task.Run(
                    () => RedisConnection.Connect(endpoint, 0, Deadline.After(options.ConnectTimeout)).Dispose(), cancellationToken);
                return;
            }
            catch (RedisException e) when (e.IsMisconfigured)
            {
                throw new IOException(
                    $"Redis at {endpoint.Text} does not take this silo: {e.Message} Correct {RedisTierOptions.Section}:ConnectionString "
                    + "(--redis) or its PasswordFile.", e);
            }
            catch (RedisException e)
            {
                if (!hasMembers)
                    return; // the silo serves from memory until Redis comes
                if (end.Passed)
                    throw new IOException(
                        $"The list of members is in Redis at {endpoint.Text}, which could not be used for {Patience.TotalSeconds:0} s: "
                        + $"{e.Message} Start Redis, or correct {RedisTierOptions.Section}:ConnectionString (--redis).", e);
                await Task.Delay(Pause, cancellationToken);
            }
        }
    }
}
