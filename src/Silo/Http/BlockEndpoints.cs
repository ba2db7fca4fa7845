using System.Globalization;
using System.IO.Pipelines;
using KvCache.Caching;
using KvCache.Engine.Index;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Grains.Cluster;
using KvCache.Silo.Cluster;
using KvCache.Silo.Data;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http.Features;

namespace KvCache.Silo.Http;

/// <summary><c>/v1/blocks/{namespace}/{hash}</c>: the bytes of one block.</summary>
internal static class BlockEndpoints
{
    /// <summary>CRC-32 of every layer of a body, in hexadecimal and with commas; in requests it is optional.</summary>
    public const string ChecksumsHeader = "KvCache-Checksums";

    /// <summary>Which write of the block a body is, in hexadecimal.</summary>
    public const string GenerationHeader = "KvCache-Generation";

    /// <summary>Where a block is: <c>memory</c> or <c>disk</c> (of this silo), <c>cluster</c> (another one), <c>redis</c>.</summary>
    public const string TiersHeader = "KvCache-Tiers";

    /// <summary>The run of layers in a body, <c>first-last/of</c>.</summary>
    public const string LayersHeader = "KvCache-Layers";

    /// <summary>Addresses of a silo with more room, when a block was refused for want of memory.</summary>
    public const string AlternativesHeader = "KvCache-Alternatives";

    private const string Bytes = "application/octet-stream";

    public static async Task<IResult> GetAsync(
        string ns, string hash, [AsParameters] LayerQuery layers, [AsParameters] HintQuery hints, HttpContext http,
        NamespaceTable namespaces, IClusterBlocks cluster, BlockServer server, CancellationToken cancellationToken)
    {
        var space = namespaces.Resolve(HttpGate.TenantOf(http), ns);
        var key = new BlockKey(space.Id, HexText.Hash(hash));
        var (range, hint) = (layers.ToRange(space.Layout), hints.ToHint());
        using var lease = await cluster.FetchAsync(key, cancellationToken);
        if (lease is null)
        {
            server.Counters.MissAbsent(server.Store.Accounts.Of(key.Namespace));
            return HttpProblem.NotStored(key.Hash).ToResult();
        }

        if (hint is not null)
            server.Store.Tell(key.Namespace, [key.Hash], hint, ends: false);

        // The reader of a body seldom checks it; what a client never sees wrong is checked here.
        if (server.DropIfDamaged(lease, range))
            return HttpProblem.NotStored(key.Hash).ToResult();

        var response = http.Response;
        response.ContentType = Bytes;
        response.ContentLength = lease.Layout.RangeBytes(range);
        response.Headers[GenerationHeader] = lease.Generation.ToString("x16", CultureInfo.InvariantCulture);
        response.Headers[LayersHeader] = $"{range.First}-{range.End - 1}/{lease.Layout.Layers}";
        response.Headers[ChecksumsHeader] = HexText.Of(lease.Checksums.Slice(range.First, range.Count));
        if (lease.ExpiresAt is { } end)
            response.Headers.Expires = end.ToString("R", CultureInfo.InvariantCulture);
        await BlockBody.SendAsync(response.BodyWriter, lease, range, cancellationToken);
        server.Counters.Hit(server.Store.Accounts.Of(key.Namespace), lease.Layout.TokensPerBlock);
        server.Counters.Moved(0, lease.Layout.RangeBytes(range));
        return Results.Empty;
    }

    public static IResult Head(
        string ns, string hash, HttpContext http, NamespaceTable namespaces, ClusterView cluster, BlockStore store)
    {
        var space = namespaces.Resolve(HttpGate.TenantOf(http), ns);
        var key = new BlockKey(space.Id, HexText.Hash(hash));
        Span<ulong> holders = stackalloc ulong[1];
        if (cluster.Match(key.Namespace, [key.Hash], holders) == 0)
            return HttpProblem.NotStored(key.Hash).ToResult();
        http.Response.ContentType = Bytes;
        http.Response.ContentLength = space.Layout.BlockBytes;
        http.Response.Headers[TiersHeader] = string.Join(", ", TiersOf(holders[0], store.Contains(key)));
        return Results.Empty;
    }

    public static async Task<IResult> PutAsync(
        string ns, string hash, [AsParameters] PutQuery query, [AsParameters] HintQuery hints, HttpContext http,
        NamespaceTable namespaces, BlockWriter writer, BlockServer server, CancellationToken cancellationToken)
    {
        var space = namespaces.Resolve(HttpGate.TenantOf(http), ns);
        var key = new BlockKey(space.Id, HexText.Hash(hash));
        var bytes = space.Layout.BlockBytes;
        var (terms, lineage, hint) = (query.ToTerms(), query.ToLineage(), hints.ToHint());
        var announced = http.Request.Headers.TryGetValue(ChecksumsHeader, out var text)
            ? HexText.Checksums(text.ToString(), space.Layout.Layers)
            : null;
        if (http.Request.ContentLength is { } length && length != bytes)
            return WrongLength(space, $"{length} bytes were announced").ToResult();
        http.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = null; // bounded where it is read, to the byte

        // What was only announced is worth no memory.
        try
        {
            var first = await http.Request.BodyReader.ReadAsync(cancellationToken);
            http.Request.BodyReader.AdvanceTo(first.Buffer.Start);
        }
        catch (Exception e) when (e is ConnectionResetException or OperationCanceledException)
        {
            return Results.Empty;
        }

        // Not cancelled with the request: what was begun ends with a finish in any case.
        var request = hint is null ? 0 : writer.BeginRequest(new PutRequest(space, [key.Hash], lineage, terms, ByLayers: false, hint));
        var block = writer.Begin(key, space.Layout, lineage, terms, CancellationToken.None, request);
        var received = -1;
        var intact = false;
        PutOutcome outcome;
        try
        {
            received = await ReceiveAsync(http.Request.BodyReader, block, bytes, cancellationToken);
            intact = received == bytes && (announced is null || block.Write!.Checksums.SequenceEqual(announced));
        }
        catch (Exception e) when (e is ConnectionResetException or OperationCanceledException)
        {
            return Results.Empty; // nobody is there to hear of it
        }
        finally
        {
            outcome = await writer.FinishAsync(block, intact, Task.CompletedTask);
        }

        server.Counters.Put(outcome);
        if (outcome == PutOutcome.AlreadyStored)
            writer.RefreshLife([key], terms);
        server.Counters.Moved(Math.Max(0, received), 0);
        if (received >= 0 && received != bytes)
            return WrongLength(space, received < bytes ? $"the body ended after {received} bytes" : "the body is longer").ToResult();
        if (outcome.IsNoRoom() && server.Cluster.RoomierEndpoints(bytes) is { Count: > 0 } roomier)
            http.Response.Headers[AlternativesHeader] = string.Join(", ", roomier);
        return Answer(outcome, key, bytes);
    }

    public static async Task<IResult> DeleteAsync(
        string ns, string hash, HttpContext http, NamespaceTable namespaces, IClusterBlocks cluster, CancellationToken cancellationToken)
    {
        var space = namespaces.Resolve(HttpGate.TenantOf(http), ns);
        var key = new BlockKey(space.Id, HexText.Hash(hash));
        return (await cluster.DeleteAsync([key], cancellationToken))[0] switch
        {
            ItemOutcome.Done => TypedResults.NoContent(),
            ItemOutcome.Unconfirmed => TypedResults.Accepted((string?)null), // it goes on
            _ => HttpProblem.NotStored(key.Hash).ToResult(),
        };
    }

    public static async Task<IResult> ClearAsync(string ns, HttpContext http, NamespaceTable namespaces, BlockServer server)
    {
        var space = namespaces.Resolve(HttpGate.TenantOf(http), ns);
        var result = await server.Cluster.ClearAsync(space.Id, server.Options.FrameTimeout / 2);
        var reply = new ClearReply(result.Deleted);
        return result.IsConfirmed ? TypedResults.Ok(reply) : TypedResults.Accepted((string?)null, reply); // it goes on
    }

    // -1 when the bytes are not wanted, and so were not looked at.
    private static async Task<int> ReceiveAsync(PipeReader body, PendingBlock block, int bytes, CancellationToken cancellationToken)
    {
        if (block.Wanted)
            return await BlockBody.ReceiveAsync(body, block.Write!, cancellationToken);
        await BlockBody.DrainAsync(body, bytes, cancellationToken);
        return -1;
    }

    private static IEnumerable<string> TiersOf(ulong holders, bool inMemory)
    {
        const ulong Here = 1UL << BlockDirectory.Self;
        if ((holders & Here) != 0)
            yield return inMemory ? "memory" : "disk";
        if ((holders & ~(Here | BlockRun.Redis)) != 0)
            yield return "cluster";
        if ((holders & BlockRun.Redis) != 0)
            yield return "redis";
    }

    private static HttpProblem WrongLength(CacheNamespace ns, string what) => new(
        StatusCodes.Status400BadRequest,
        "wrong-length",
        "The block does not have the size of its layout.",
        $"A block of this namespace has {ns.Layout.BlockBytes} bytes ({ns.Layout}); {what}. Nothing was stored. Send all layers of one "
            + "block.");

    private static IResult Answer(PutOutcome outcome, BlockKey key, int bytes)
    {
        switch (outcome)
        {
            case PutOutcome.Stored:
                return TypedResults.Json(
                    new PutBlockReply(nameof(PutOutcome.Stored)), HttpJsonContext.Default.PutBlockReply,
                    statusCode: StatusCodes.Status201Created);
            case PutOutcome.AlreadyStored:
                return TypedResults.Json(new PutBlockReply(nameof(PutOutcome.AlreadyStored)), HttpJsonContext.Default.PutBlockReply);
        }

        var problem = outcome switch
        {
            PutOutcome.BeingWritten =>
                new HttpProblem(
                StatusCodes.Status409Conflict, "being-written", "The block is being written.",
                $"Another client is writing block {key.Hash} now. Its bytes will do; there is nothing to send again."),
            PutOutcome.Revoked =>
                new HttpProblem(
                StatusCodes.Status409Conflict, "revoked", "The write was revoked.",
                $"Block {key.Hash} was deleted while it was written, or the write took longer than KvCache:Prefixes:WriteLimit. Store it "
                + "again if it is still wanted."),
            PutOutcome.NoMemory =>
                HttpProblem.LimitReached(
                $"All memory of this silo is leased, pinned or being written; {bytes} bytes could not be had. Try another silo "
                + $"({AlternativesHeader} names one that has room, if there is one), or go on without."),
            PutOutcome.NoRoomInPrefix =>
                HttpProblem.LimitReached(
                $"The block before block {key.Hash} is not stored, or would have to go for it: a chain that does not fit keeps its head. "
                    + "Try "
                + $"another silo ({AlternativesHeader} names one that has room, if there is one), or go on without."),
            PutOutcome.NotWorthRoom =>
                HttpProblem.LimitReached(
                $"All blocks that could go for block {key.Hash} are worth more, as far as this silo has learned of when blocks are used "
                    + "again. "
                + $"Try another silo ({AlternativesHeader} names one that has room, if there is one), or go on without."),
            PutOutcome.NoRoomInShare =>
                HttpProblem.LimitReached(
                $"The tenant has all the memory of this silo that it may have; {bytes} bytes could not be had. Delete something, wait "
                    + "until "
                + "what is being read or written is done, or go on without."),
            PutOutcome.TooLarge =>
                new HttpProblem(
                StatusCodes.Status413PayloadTooLarge, "block-too-large", "The block is larger than the arena.",
                $"A block of {bytes} bytes does not fit in this silo's arena. Give the silo a larger one, or use fewer tokens per block."),
            PutOutcome.Corrupt =>
                new HttpProblem(
                StatusCodes.Status422UnprocessableEntity, "wrong-checksum", "The bytes do not match their checksums.",
                $"The bytes of block {key.Hash} do not have the checksums of {ChecksumsHeader}. Nothing was stored. Send it again."),
            _ => new HttpProblem(
                StatusCodes.Status500InternalServerError, "failed", "The silo failed.",
                $"Block {key.Hash} could not be stored; the silo's log says why. Try again, or go on without."),
        };
        return problem.ToResult();
    }
}
