using System.Globalization;
using KvCache.Processes;
using KvCache.Redis;
using KvCache.Testing;
using StackExchange.Redis;

namespace KvCache.RedisTests;

/// <summary>The cache over a Redis that wants TLS and a user, and over a Redis Cluster: what the contract asks for, in short.</summary>
public sealed class RedisKvCacheAccessTests
{
    private const string Commands = "set get exists pexpire expire persist del unlink scan ping echo info client";
    private const int Slots = 16384;

    private static readonly CacheNamespace Ns = new()
    {
        Tenant = "acme",
        Model = "tiny",
        Layout = KvLayout.Create(2, 1, 8, KvDataType.Float32, 4),
    };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_Redis_with_TLS_and_a_user_of_few_rights_keeps_the_promises()
    {
        using var authority = new TestAuthority();
        var (certificate, key) = authority.Issue("redis");
        var port = LoopbackPort.FindFree();
        using var redis = RedisProcess.Start(
            "--tls-port", $"{port}", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority.CaFile,
            "--tls-auth-clients", "no");
        Assert.Equal("+OK", redis.Command(
            ["ACL", "SETUSER", "cache", "on", ">a password", "~kvcache.blocks:*", .. Commands.Split(' ').Select(command => $"+{command}")]));

        await using (var connection = await ConnectAsync(authority.CaFile, "a password"))
        {
            await using var cache = new RedisKvCache(connection, Patient());
            await AssertContractAsync(cache, blocks: 5);
        }

        Assert.Equal("+OK", redis.Command("ACL", "SETUSER", "default", "off")); // who proves nothing is nobody
        await using (var connection = await ConnectAsync(authority.CaFile, "another password"))
        {
            await using var cache = new RedisKvCache(connection, Patient());
            Assert.False((await cache.GetHealthAsync(Token)).IsAvailable);
            var match = await cache.MatchAsync(PrefixOf(1), default, Token);
            Assert.Equal(0, match.Blocks);
            Assert.True(match.Reason is MissReason.Refused or MissReason.Unavailable, $"{match.Reason}");
            Assert.NotNull(match.Error);
        }

        async Task<ConnectionMultiplexer> ConnectAsync(string authorities, string password)
        {
            var options = ConfigurationOptions.Parse($"127.0.0.1:{port},user=cache,ssl=true,sslHost=127.0.0.1,abortConnect=false");
            options.Password = password;
            options.TrustIssuer(authorities);
            options.BacklogPolicy = BacklogPolicy.FailFast;
            return await ConnectionMultiplexer.ConnectAsync(options);
        }
    }

    [Fact]
    public async Task A_Redis_Cluster_keeps_the_promises()
    {
        using var first = RedisProcess.Start("--cluster-enabled", "yes");
        using var second = RedisProcess.Start("--cluster-enabled", "yes");
        Assert.Equal("+OK", first.Command("CLUSTER", "ADDSLOTSRANGE", "0", $"{(Slots / 2) - 1}"));
        Assert.Equal("+OK", second.Command("CLUSTER", "ADDSLOTSRANGE", $"{Slots / 2}", $"{Slots - 1}"));
        Assert.Equal("+OK", first.Command("CLUSTER", "MEET", "127.0.0.1", second.Port.ToString(CultureInfo.InvariantCulture)));
        foreach (var node in new[] { first, second })
            await Eventually.TrueAsync(
                "a node serves its half", () => node.ClusterInfo().Contains("cluster_state:ok", StringComparison.Ordinal));

        var options = Patient();
        options.Configuration = first.Tcp; // the other one is found
        await using var cache = new RedisKvCache(options);
        var prefix = PrefixOf(40);
        Assert.Equal(40, (await cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token)).Stored);
        Assert.All([first, second], node => Assert.NotEqual(":0", node.Command("DBSIZE")));
        await AssertContractAsync(cache, blocks: 40);
    }

    private static async Task AssertContractAsync(RedisKvCache cache, int blocks)
    {
        Assert.True((await cache.GetHealthAsync(Token)).IsAvailable);
        var prefix = PrefixOf(blocks);
        var stored = await cache.StoreAsync(prefix, 0, Blocks(prefix), new StoreOptions(TimeSpan.FromMinutes(5)), Token);
        Assert.Equal((blocks, MissReason.None), (stored.Stored + stored.AlreadyStored, stored.Reason));
        Assert.Equal(blocks, (await cache.MatchAsync(prefix, default, Token)).Blocks);
        var memory = Blocks(prefix).Select(block => (Memory<byte>)new byte[block.Length]).ToArray();
        Assert.Equal(new LoadResult(blocks, MissReason.None), await cache.LoadAsync(prefix, 0, memory, cancellationToken: Token));
        Assert.All(Blocks(prefix).Zip(memory), pair => Assert.True(pair.First.Span.SequenceEqual(pair.Second.Span)));
        Assert.Equal(blocks, await cache.ExpireAsync(prefix, TimeSpan.FromHours(1), Token));
        Assert.Equal(blocks, await cache.ExpireAsync(prefix, null, Token));
        Assert.Equal(new DeleteResult(blocks, true), await cache.DeleteAsync(prefix, Token));
        await cache.StoreAsync(prefix, 0, Blocks(prefix), null, Token);
        Assert.Equal(new DeleteResult(blocks, true), await cache.ClearAsync(Ns, Token));
        Assert.Equal(0, (await cache.MatchAsync(prefix, default, Token)).Blocks);
    }

    private static RedisKvCacheOptions Patient() => new()
    {
        MatchTimeout = Eventually.Bound,
        LoadTimeout = Eventually.Bound,
        StoreTimeout = Eventually.Bound,
    };

    private static KvPrefix PrefixOf(int blocks) => KvPrefix.Of(Ns, [.. Enumerable.Range(0, blocks * Ns.Layout.TokensPerBlock)]);

    private static ReadOnlyMemory<byte>[] Blocks(KvPrefix prefix) => [.. Enumerable.Range(0, prefix.BlockCount).Select(block =>
    {
        var bytes = new byte[prefix.Namespace.Layout.BlockBytes];
        new Random(block).NextBytes(bytes);
        return (ReadOnlyMemory<byte>)bytes;
    })];
}
