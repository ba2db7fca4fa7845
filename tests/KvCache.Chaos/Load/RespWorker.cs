using System.Diagnostics;
using System.Net.Sockets;
using KvCache.Chaos.Checkers;
using KvCache.Chaos.Worlds;

namespace KvCache.Chaos.Load;

/// <summary>
/// A client of the Redis endpoints: values that replace one another, written at one silo and read at any. A silo that is away costs its
/// client an error of its own library, which is no call that failed.
/// </summary>
internal sealed class RespWorker(World world, Journal journal, SeededContent content, Random dice, KeyValue[] values)
    : Worker(journal, content, dice)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(3);

    private readonly RespLink?[] _links = new RespLink?[world.Silos.Length];

    public override ValueTask DisposeAsync()
    {
        foreach (var link in _links)
            link?.Dispose();
        return default;
    }

    protected override Task StepAsync()
    {
        var value = values[Dice.Next(values.Length)];
        var silo = Dice.Next(_links.Length);
        switch (Dice.Next(10))
        {
            case < 2:
                Set(silo, value);
                break;
            case 2:
                var last = value.State.Attempted;
                if (TryCall(silo, out var deleted, "DEL", value.Key) && deleted is long)
                    value.Change(state => state with { Deleted = last });
                break;
            default:
                var (before, began) = (value.State, Stopwatch.GetTimestamp());
                if (TryCall(silo, out var got, "GET", value.Key) && got is byte[] bytes)
                {
                    var version = bytes.Length == value.Bytes ? Content.VersionOf(bytes, value.Number, 0) : 0;
                    Journal.Read(new BlockRead(value, 0, version, before, began, $"the Redis endpoint of silo {silo}"));
                }

                break;
        }

        return Task.CompletedTask;
    }

    private void Set(int silo, KeyValue value)
    {
        var version = value.State.Attempted + 1;
        value.Change(state => state with { Attempted = version });
        var bytes = new byte[value.Bytes];
        Content.Fill(bytes, value.Number, 0, version);
        if (TryCall(silo, out var answer, "SET", value.Key, bytes) && answer is byte[])
            value.Change(state => state with { Acknowledged = version, AcknowledgedAt = Stopwatch.GetTimestamp() });
        else
            MarkUncertain(value, version);
    }

    private bool TryCall(int silo, out object? answer, params object[] words)
    {
        answer = null;
        try
        {
            answer = (_links[silo] ??= world.ConnectResp(silo, Limit)).Call(words);
            return true;
        }
        catch (RespError)
        {
            return false; // no memory, or a deletion that nobody confirms
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            _links[silo]?.Dispose();
            _links[silo] = null;
            return false;
        }
    }
}
