using System.Buffers.Text;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using KvCache.Chaos.Checkers;
using KvCache.Chaos.Worlds;

namespace KvCache.Chaos.Load;

/// <summary>A client of the HTTP API, which says of each deletion whether it is confirmed. A silo that is away costs it an error of its own
/// library, which is no call that failed.</summary>
internal sealed class HttpWorker : Worker
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(6);

    private readonly HttpClient[] _silos;
    private readonly Chain[] _own;
    private readonly IReadOnlyList<Chain> _all;

    public HttpWorker(World world, Journal journal, SeededContent content, Random dice, Chain[] own, IReadOnlyList<Chain> all)
        : base(journal, content, dice)
    {
        _silos = [.. world.Silos.Select(silo => world.ConnectHttp(silo.Number, Limit))];
        (_own, _all) = (own, all);
    }

    public override ValueTask DisposeAsync()
    {
        foreach (var http in _silos)
            http.Dispose();
        return default;
    }

    protected override Task StepAsync() => Dice.Next(10) switch
    {
        < 6 => ReadAsync(_all[Dice.Next(_all.Count)]),
        < 9 => StoreAsync(_own[Dice.Next(_own.Length)]),
        _ => DeleteAsync(_own[Dice.Next(_own.Length)]),
    };

    private async Task ReadAsync(Chain chain)
    {
        var (silo, block) = (Dice.Next(_silos.Length), Dice.Next(chain.Blocks));
        var (before, began) = (chain.State, Stopwatch.GetTimestamp());
        try
        {
            using var answer = await _silos[silo].GetAsync(PathOf(chain, block)).ConfigureAwait(false);
            if (answer.StatusCode == HttpStatusCode.OK)
                Tell(chain, block, await answer.Content.ReadAsByteArrayAsync().ConfigureAwait(false), before, began,
                    $"HTTP of silo {silo}");
        }
        catch (Exception e) when (IsAway(e))
        {
            await Task.Delay(20).ConfigureAwait(false);
        }
    }

    private async Task StoreAsync(Chain chain)
    {
        var life = Dice.NextDouble() < 0.2 ? 2 + Dice.Next(3) : 0;
        var version = NextVersion(chain, life > 0);
        if (version == 0)
            return;
        var silo = _silos[Dice.Next(_silos.Length)];
        var blocks = BlocksOf(chain, version);
        var query = (life > 0 ? $"&ttl={life}" : "") + (Dice.NextDouble() < 0.4 ? "&persisted=true" : "");
        for (var block = 0; block < blocks.Length; block++)
        {
            try
            {
                using var body = new ReadOnlyMemoryContent(blocks[block]);
                var parent = block > 0 ? $"&parent={chain.Prefix.Chain.Hashes[block - 1]}" : "";
                using var answer = await silo.PutAsync(
                    new Uri($"{PathOf(chain, block)}?depth={block.ToString(CultureInfo.InvariantCulture)}{query}{parent}",
                        UriKind.Relative), body)
                    .ConfigureAwait(false);
            }
            catch (Exception e) when (IsAway(e))
            {
                MarkUncertain(chain, version);
                return;
            }
        }

        if (life > 0)
            chain.Change(state => state with { Ends = state.Ends.SetItem(version, After(TimeSpan.FromSeconds(life))) });
    }

    private async Task DeleteAsync(Chain chain)
    {
        var last = chain.State.Attempted;
        var silo = _silos[Dice.Next(_silos.Length)];
        try
        {
            for (var block = 0; block < chain.Blocks; block++)
            {
                using var answer = await silo.DeleteAsync(PathOf(chain, block)).ConfigureAwait(false);
                if (answer.StatusCode != HttpStatusCode.NoContent)
                    return; // 202: not confirmed
            }

            chain.Change(state => state with { Deleted = last });
        }
        catch (Exception e) when (IsAway(e))
        {
            await Task.Delay(20).ConfigureAwait(false);
        }
    }

    private static bool IsAway(Exception exception) => exception is HttpRequestException or OperationCanceledException or IOException;

    private static Uri PathOf(Chain chain, int block) => new(
        $"/v1/blocks/{Base64Url.EncodeToString(chain.Prefix.Namespace.Encoded)}/{chain.Prefix.Chain.Hashes[block]}", UriKind.Relative);
}
