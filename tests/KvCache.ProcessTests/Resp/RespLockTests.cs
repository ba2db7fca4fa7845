using KvCache.ProcessTests.Resp;
using StackExchange.Redis;

namespace KvCache.ProcessTests;

/// <summary>Locks and transactions of ordinary clients.</summary>
[Collection(typeof(CachingSilo))]
public sealed class RespLockTests(CachingSilo silo)
{
    private readonly string _key = $"lock:{Guid.NewGuid():N}";

    [Fact]
    public async Task The_locks_and_transactions_of_StackExchange_Redis_work()
    {
        await using var connection = await ConnectionMultiplexer.ConnectAsync(silo.Process.Ready.Resp);
        var database = connection.GetDatabase();
        Assert.True(await database.LockTakeAsync(_key, "mine", TimeSpan.FromMinutes(1)));
        Assert.False(await database.LockTakeAsync(_key, "yours", TimeSpan.FromMinutes(1)));
        Assert.Equal("mine", await database.LockQueryAsync(_key));
        Assert.False(await database.LockExtendAsync(_key, "yours", TimeSpan.FromMinutes(9)));
        Assert.True(await database.LockExtendAsync(_key, "mine", TimeSpan.FromMinutes(9)));
        Assert.InRange((await database.KeyTimeToLiveAsync(_key))!.Value.TotalMinutes, 7, 9);
        Assert.False(await database.LockReleaseAsync(_key, "yours"));
        Assert.True(await database.LockReleaseAsync(_key, "mine"));
        Assert.True((await database.StringGetAsync(_key)).IsNull);

        var transaction = database.CreateTransaction();
        transaction.AddCondition(Condition.KeyNotExists(_key));
        var (set, fields) = (transaction.StringSetAsync(_key, "1"), transaction.HashSetAsync(_key + ":h", "f", "v"));
        Assert.True(await transaction.ExecuteAsync());
        Assert.True(await set);
        Assert.True(await fields);
        var second = database.CreateTransaction();
        second.AddCondition(Condition.KeyNotExists(_key));
        _ = second.KeyDeleteAsync(_key);
        Assert.False(await second.ExecuteAsync());
        Assert.True(await database.KeyExistsAsync(_key));
    }

    [Fact]
    public void Nothing_of_a_transaction_is_done_when_something_of_it_is_refused()
    {
        using var peer = new RespPeer(silo.Process);
        Assert.Equal("+OK", peer.Call("MULTI"));
        Assert.Equal("+QUEUED", peer.Call("SET", _key, "1"));
        Assert.StartsWith("-ERR", peer.Call("SCAN", "0"), StringComparison.Ordinal);
        Assert.Equal("-EXECABORT Transaction discarded because of previous errors.", peer.Call("EXEC"));
        Assert.Equal("nil", peer.Call("GET", _key));
        Assert.Equal("-ERR EXEC without MULTI", peer.Call("EXEC"));
    }

    [Fact]
    public async Task Other_clients_see_all_of_a_transaction_or_nothing()
    {
        string[] keys = [_key + "a", _key + "b"];
        using var writer = new RespPeer(silo.Process);
        writer.Call("MSET", keys[0], "0", keys[1], "0");
        using var ended = new CancellationTokenSource();
        var reading = Task.Run(() =>
        {
            using var reader = new RespPeer(silo.Process);
            var changes = 0;
            for (var last = ""; !ended.IsCancellationRequested;)
            {
                reader.Call("MULTI");
                reader.Call("GET", keys[0]);
                reader.Call("GET", keys[1]);
                var seen = reader.Call("EXEC").Trim('[', ']').Split(", ");
                Assert.Equal(seen[0], seen[1]);
                changes += seen[0] == last ? 0 : 1;
                last = seen[0];
            }

            return changes;
        });
        for (var i = 1; i <= 1000; i++)
        {
            writer.Call("MULTI");
            writer.Call("SET", keys[0], $"{i}");
            writer.Call("SET", keys[1], $"{i}");
            Assert.Equal("[+OK, +OK]", writer.Call("EXEC"));
        }

        await ended.CancelAsync();
        Assert.True(await reading > 1, "The reader has seen no change: nothing was tested.");
    }

    [Fact]
    public void A_counter_that_many_clients_raise_loses_nothing()
    {
        Parallel.For(0, 4, _ =>
        {
            using var peer = new RespPeer(silo.Process);
            for (var i = 0; i < 250; i++)
            {
                peer.Call("INCR", _key);
                peer.Call("HSET", _key + ":h", $"{Environment.CurrentManagedThreadId}:{i % 20}", "x");
            }
        });
        using var reader = new RespPeer(silo.Process);
        Assert.Equal("\"1000\"", reader.Call("GET", _key));
    }

    [Fact]
    public void A_lock_outlasts_what_fills_the_memory_until_its_end()
    {
        using var peer = new RespPeer(silo.Process);
        Assert.Equal("+OK", peer.Call("SET", _key, "token", "NX", "PX", "600000"));
        Assert.Equal("+OK", peer.Call("SET", _key + ":plain", "token"));
        var value = new byte[8 << 20];
        for (var i = 0; i < 40; i++)
            Assert.Equal("+OK", peer.Call("SET", $"{_key}:{i}", value));
        Assert.Equal("nil", peer.Call("GET", _key + ":plain"));
        Assert.Equal("\"token\"", peer.Call("GET", _key));
        for (var i = 0; i < 40; i++)
            peer.Call("DEL", $"{_key}:{i}");
        Assert.Equal(":1", peer.Call("DEL", _key));
    }

    [Fact]
    public void A_client_is_told_of_itself_and_the_others()
    {
        using var first = new RespPeer(silo.Process);
        using var second = new RespPeer(silo.Process);
        Assert.Equal("+OK", first.Call("CLIENT", "SETNAME", "first"));
        Assert.Equal("+OK", first.Call("CLIENT", "SETINFO", "LIB-NAME", "lib"));
        second.Call("CLIENT", "SETNAME", "second");
        var list = first.Call("CLIENT", "LIST");
        Assert.Contains("name=first ", list, StringComparison.Ordinal);
        Assert.Contains("lib-name=lib ", list, StringComparison.Ordinal);
        Assert.Contains("name=second ", list, StringComparison.Ordinal);
        var id = second.Call("CLIENT", "ID")[1..];
        Assert.DoesNotContain("name=first ", first.Call("CLIENT", "LIST", "ID", id), StringComparison.Ordinal);
        first.Call("SET", _key, new string('x', 5000));
        Assert.Equal(":8192", first.Call("MEMORY", "USAGE", _key));
        Assert.Equal("\"raw\"", first.Call("OBJECT", "ENCODING", _key));
    }
}
