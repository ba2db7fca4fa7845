using System.Net;
using System.Net.Sockets;
using KvCache.RedisTests.Infrastructure;
using KvCache.Silo.Tiers;
using KvCache.Silo.Tiers.Redis;
using KvCache.Testing;

namespace KvCache.RedisTests;

/// <summary>A Redis that wants TLS and a proof.</summary>
public sealed class RedisAccessTests : IDisposable
{
    private static readonly KvLayout Layout = TierFixture.LayoutOf(1 << 20);
    private static readonly BlockKey Key = TierFixture.Key(1);

    private readonly TestAuthority _authority = new();

    private string PasswordFile => Path.Combine(_authority.Folder, "password");

    public void Dispose() => _authority.Dispose();

    [Fact]
    public async Task Blocks_go_to_redis_and_back_through_tls()
    {
        var (redis, tls) = StartTls("--tls-auth-clients", "no");
        using (redis)
        {
            await using var fixture = new TierFixture(tls, configure: options =>
            {
                options.Tls.Enabled = true;
                options.Tls.CaFile = _authority.CaFile;
            });
            await fixture.PersistAsync(Key, Layout);
            using var lease = (await fixture.Tier.PromoteAsync(Key, Layout, TestContext.Current.CancellationToken)).Lease!;
            TierFixture.AssertContent(lease);
        }
    }

    [Fact]
    public async Task A_redis_of_another_authority_gets_nothing_and_is_told_why()
    {
        using var other = new TestAuthority("Other Authority");
        var (redis, tls) = StartTls("--tls-auth-clients", "no");
        using (redis)
        {
            await using var fixture = new TierFixture(tls, configure: options =>
            {
                options.Tls.Enabled = true;
                options.Tls.CaFile = other.CaFile;
                options.MaxQueueTime = TimeSpan.FromSeconds(2);
            });
            Assert.Equal(PersistOutcome.Unavailable, await fixture.WriteAsync(fixture.Put(Key, Layout)));
            Assert.Contains("does not come from an authority that is trusted here", fixture.Tier.LastError, StringComparison.Ordinal);
            Assert.Equal(":0", redis.Command("DBSIZE"));
        }
    }

    [Fact]
    public async Task A_certificate_is_shown_to_a_redis_that_asks_for_one()
    {
        var (redis, tls) = StartTls("--tls-auth-clients", "yes");
        using (redis)
        {
            var (certificate, key) = _authority.Issue("silo");
            await using var fixture = new TierFixture(tls, configure: options =>
            {
                options.Tls.Enabled = true;
                (options.Tls.CaFile, options.Tls.CertificateFile, options.Tls.KeyFile) = (_authority.CaFile, certificate, key);
            });
            await fixture.PersistAsync(Key, Layout);
            Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
        }
    }

    [Fact]
    public async Task The_documented_acl_is_enough_and_its_password_file_is_read_again()
    {
        using var redis = RedisProcess.Start();
        SetPassword(redis, "first password");
        await File.WriteAllTextAsync(PasswordFile, "first password\n", TestContext.Current.CancellationToken);
        await using var fixture = new TierFixture($"{redis.Tcp},user=cache", configure: options => options.PasswordFile = PasswordFile);
        await fixture.PersistAsync(Key, Layout);
        Assert.Equal(PromoteOutcome.Promoted, await fixture.PromoteAsync(Key, Layout));
        fixture.Store.Remove(Key);

        // Redis knows both for a while; then only the new one, and it ends the old connections.
        Assert.Equal("+OK", redis.Command("ACL", "SETUSER", "cache", ">second password"));
        await File.WriteAllTextAsync(PasswordFile, "second password\n", TestContext.Current.CancellationToken);
        Assert.Equal("+OK", redis.Command("ACL", "SETUSER", "cache", "<first password"));
        redis.Command("CLIENT", "KILL", "USER", "cache");
        await Eventually.TrueAsync(
            "the tier comes back with the new password", async () => await fixture.PromoteAsync(Key, Layout) == PromoteOutcome.Promoted);
    }

    [Fact]
    public void Settings_that_cannot_be_used_are_told_in_one_sentence()
    {
        var (certificate, _) = _authority.Issue("a");
        var (_, key) = _authority.Issue("b");
        Refused("'/nowhere/password' cannot be opened: No such file", options => options.PasswordFile = "/nowhere/password");
        Refused("one of them was expected",
            options => (options.ConnectionString, options.PasswordFile) = ("localhost:1,password=x", certificate));
        Refused("does not fit the certificate", options =>
        {
            options.Tls.Enabled = true;
            (options.Tls.CertificateFile, options.Tls.KeyFile) = (certificate, key);
        });
        Refused("is a Unix socket", options =>
        {
            options.ConnectionString = "unix:/run/redis.sock";
            options.Tls.Enabled = true;
        });

        static void Refused(string expected, Action<RedisTierOptions> configure)
        {
            var options = new RedisTierOptions { ConnectionString = "localhost:6379" };
            configure(options);
            var error = Assert.Throws<FormatException>(() => RedisEndpoint.Create(options));
            Assert.Contains(expected, error.Message, StringComparison.Ordinal);
        }
    }

    private static void SetPassword(RedisProcess redis, string password) => Assert.Equal("+OK", redis.Command(
    [
        "ACL", "SETUSER", "cache", "on", $">{password}", "~kvcache:*",
        .. ("SET PSETEX GET UNLINK EXISTS SCAN DBSIZE PING ECHO INFO CLIENT EVAL EVALSHA SCRIPT|LOAD GETRANGE SETRANGE STRLEN PTTL PEXPIRE "
            + "EXPIRE HGET HGETALL HMSET DEL")
            .ToLowerInvariant().Split(' ').Select(command => "+" + command),
    ]));

    private (RedisProcess Redis, string Tls) StartTls(params string[] more)
    {
        int port;
        using (var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            port = ((IPEndPoint)socket.LocalEndPoint!).Port;
        }

        var (certificate, key) = _authority.Issue("redis");
        var redis = RedisProcess.Start(
            ["--tls-port", $"{port}", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", _authority.CaFile,
            .. more]);
        return (redis, $"127.0.0.1:{port}");
    }
}
