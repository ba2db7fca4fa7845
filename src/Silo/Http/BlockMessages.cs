using System.ComponentModel;
using System.Text.Json.Serialization;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Data;
using KvCache.Silo.Telemetry;
using Microsoft.AspNetCore.Mvc;

namespace KvCache.Silo.Http;

/// <summary>A prompt, as tokens or as hashes of its blocks.</summary>
internal abstract record PromptRequest
{
    [Description("Token ids of the prompt; the silo hashes them. Or 'hashes'.")]
    public int[]? Tokens { get; set; }

    [Description("Hashes of the prompt's blocks in hexadecimal, first block first, at most 16,384. Or 'tokens'.")]
    public string[]? Hashes { get; set; }

    /// <exception cref="HttpProblemException">Neither or both are given, too many, or a hash is none.</exception>
    public BlockHash[] ToHashes(KvLayout layout)
    {
        if (Tokens is null == Hashes is null)
            throw new HttpProblemException(HttpProblem.Invalid("Either 'tokens' or 'hashes' was expected. Send one of them."));
        return Tokens is null
            ? HexText.Hashes(Hashes!)
            : PrefixHasher.HashTokens(CheckedTokens(Tokens, layout.TokensPerBlock), layout.TokensPerBlock).Hashes.ToArray();
    }

    private static int[] CheckedTokens(int[] tokens, int tokensPerBlock) =>
        tokens.Length / tokensPerBlock <= WireProtocol.MaxBlocksPerRequest
        ? tokens
        : throw new HttpProblemException(
            HttpProblem.Invalid(
            $"{tokens.Length} tokens are {tokens.Length / tokensPerBlock} blocks; at most {WireProtocol.MaxBlocksPerRequest} are looked "
            + "up at a time. Send the front part."));
}

/// <summary>How much of a prompt is stored?</summary>
internal sealed record MatchRequest : PromptRequest
{
    [Description(
        "Ids or encodings of the namespaces of the prompt's ranks; what all of them have is found. They have the same tokens per block.")]
    public required string[] Namespaces { get; set; }

    [Description("What is known of when the blocks that are found are used again.")]
    public HintBody? Hint { get; set; }
}

/// <summary>How much of a prompt is stored.</summary>
internal sealed record MatchReply(
    [property: Description("Blocks that are stored, counted from the first one.")] int Blocks,
    [property: Description("Tokens in them.")] int Tokens,
    [property: Description("Full blocks of the prompt.")] int Of);

/// <summary>Names blocks of a namespace.</summary>
internal abstract record BlocksRequest
{
    [Description("Id or encoding of the namespace.")]
    public required string Namespace { get; set; }

    [Description("Hashes of the blocks in hexadecimal, at most 16,384.")]
    public required string[] Hashes { get; set; }
}

/// <summary>Keeps blocks from eviction.</summary>
internal sealed record PinRequest : BlocksRequest
{
    [Description("Length of the pin from now on; 0 ends it.")]
    public required int Seconds { get; set; }
}

/// <summary>Blocks that are pinned now.</summary>
internal sealed record PinReply(
    [property: Description("Blocks for which it worked: they are stored, and pins have not taken their share.")] int Pinned);

/// <summary>Sets the life of blocks.</summary>
internal sealed record ExpireRequest : BlocksRequest
{
    [Description("Life from now on; without it, for as long as memory lasts.")]
    public double? Seconds { get; set; }

    /// <exception cref="HttpProblemException">It is no life.</exception>
    public TimeSpan ToLife() => LifeOf(Seconds, "seconds") ?? TimeSpan.MaxValue;

    /// <summary>A life of so many seconds, in steps of a millisecond; null for as long as memory lasts.</summary>
    /// <exception cref="HttpProblemException">It is no life.</exception>
    public static TimeSpan? LifeOf(double? seconds, string name) => TimeOf(
        seconds, $"The life of the blocks is {seconds} s; more than 0 was expected, or no '{name}' for as long as memory lasts.");

    /// <summary>A time of so many seconds, in steps of a millisecond; null when there is none.</summary>
    /// <exception cref="HttpProblemException">It is no time, as a text says.</exception>
    public static TimeSpan? TimeOf(double? seconds, string problem)
    {
        if (seconds is not { } time)
            return null;
        return time > 0 && time <= TimeSpan.MaxValue.TotalSeconds / 2
            ? WireProtocol.Duration((ulong)Math.Ceiling(time * 1000))
            : throw new HttpProblemException(HttpProblem.Invalid(problem));
    }
}

/// <summary>Blocks that have another life now.</summary>
internal sealed record ExpireReply(
    [property: Description("Blocks that have it everywhere.")] int Set,
    [property: Description("Blocks that keep the life that they have on a silo, or in Redis, that did not answer.")] int NotConfirmed);

/// <summary>What was deleted of a namespace.</summary>
internal sealed record ClearReply([property: Description("Blocks that were stored and are deleted.")] int Deleted);

/// <summary>What became of a block.</summary>
internal sealed record PutBlockReply([property: Description("Stored, or AlreadyStored: then these bytes were not used.")] string Outcome);

/// <summary>Which part of a block is wanted; everything without.</summary>
internal readonly struct LayerQuery
{
    [FromQuery(Name = "first")]
    [Description("First layer, from 0.")]
    public int? First { get; init; }

    [FromQuery(Name = "layers")]
    [Description("Number of layers; all behind the first one when it is left out.")]
    public int? Layers { get; init; }

    /// <exception cref="HttpProblemException">The run does not lie in the block.</exception>
    public LayerRange ToRange(KvLayout layout)
    {
        var first = First ?? 0;
        var range = new LayerRange(first, Layers ?? layout.Layers - first);
        return layout.Contains(range)
            ? range
            : throw new HttpProblemException(
                HttpProblem.Invalid(
                $"The layers {range} do not lie in a block of {layout.Layers} layers. Ask for at least one of 0 to {layout.Layers - 1}."));
    }
}

/// <summary>What is to become of a block, and where it stands in its prompt.</summary>
internal readonly struct PutQuery
{
    [FromQuery(Name = "ttl")]
    [Description(
        "Life in seconds, in steps of a millisecond, from the moment it is visible; as long as memory lasts when it is left out. A "
        + "block that is stored already gets it too.")]
    public double? TimeToLive { get; init; }

    [FromQuery(Name = "copies")]
    [Description("Silos that are to hold it, 1 to 16.")]
    public int? Copies { get; init; }

    [FromQuery(Name = "persisted")]
    [Description("Whether it is written to Redis, soon after it is visible.")]
    public bool? Persisted { get; init; }

    [FromQuery(Name = "replace")]
    [Description("Whether it takes the place of a stored block, on every silo.")]
    public bool? Replace { get; init; }

    [FromQuery(Name = "parent")]
    [Description("Hash of the block before it; left out for the first one.")]
    public string? Parent { get; init; }

    [FromQuery(Name = "depth")]
    [Description("Index of the block in its prompt, from 0.")]
    public int? Depth { get; init; }

    /// <exception cref="HttpProblemException">A value is out of its bounds.</exception>
    public BlockTerms ToTerms()
    {
        var life = ExpireRequest.LifeOf(TimeToLive, "ttl");
        return Copies is < 1 or > WireProtocol.MaxCopies
            ? throw new HttpProblemException(
                HttpProblem.Invalid($"The block is to have {Copies} copies; 1 to {WireProtocol.MaxCopies} were expected."))
            : new BlockTerms(life, new BlockDurability(Copies ?? 1, Persisted ?? false), Replace ?? false);
    }

    /// <exception cref="HttpProblemException">A value is out of its bounds.</exception>
    public BlockLineage ToLineage()
    {
        if (Depth is < 0)
            throw new HttpProblemException(HttpProblem.Invalid($"The depth of the block is {Depth}; 0 or more was expected."));
        return new BlockLineage(Parent is null ? default : HexText.Hash(Parent), Depth ?? 0, RequestId: 0, SuffixTokens: 0);
    }
}

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(NamespaceRequest))]
[JsonSerializable(typeof(NamespaceReply))]
[JsonSerializable(typeof(MatchRequest))]
[JsonSerializable(typeof(MatchReply))]
[JsonSerializable(typeof(PinRequest))]
[JsonSerializable(typeof(PinReply))]
[JsonSerializable(typeof(ExpireRequest))]
[JsonSerializable(typeof(ExpireReply))]
[JsonSerializable(typeof(HintRequest))]
[JsonSerializable(typeof(HintReply))]
[JsonSerializable(typeof(ClearReply))]
[JsonSerializable(typeof(PutBlockReply))]
[JsonSerializable(typeof(LocateRequest))]
[JsonSerializable(typeof(LocateReply))]
[JsonSerializable(typeof(SiloStatistics))]
[JsonSerializable(typeof(TenantStatistics))]
[JsonSerializable(typeof(ProblemDetails))]
[JsonSerializable(typeof(bool?))]
internal sealed partial class HttpJsonContext : JsonSerializerContext;
