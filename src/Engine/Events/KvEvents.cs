using System.Buffers.Binary;

namespace KvCache.Engine.Events;

/// <summary>
/// A change of what lies in a cache, as vLLM tells it (vllm/distributed/kv_events.py).
/// </summary>
internal abstract record KvEvent
{
    /// <summary>Medium of the blocks of an engine's own GPU memory. An event without a medium means the same.</summary>
    public const string Gpu = "GPU";

    /// <summary>Medium of blocks in main memory: those of a silo's arena.</summary>
    public const string Memory = "CPU";

    /// <summary>Medium of blocks in Redis; vLLM itself has no such.</summary>
    public const string Redis = "REDIS";

    private protected KvEvent()
    {
    }

    /// <summary>A hash as this cache compares it: the low 64 bits of the number that its bytes are in big-endian order. Engines send bytes
    /// or just this number.</summary>
    /// <param name="hash">Bytes of a hash, of any length.</param>
    public static ulong LowBits(ReadOnlySpan<byte> hash)
    {
        Span<byte> low = stackalloc byte[sizeof(ulong)];
        var tail = hash[Math.Max(0, hash.Length - sizeof(ulong))..];
        tail.CopyTo(low[(sizeof(ulong) - tail.Length)..]);
        return BinaryPrimitives.ReadUInt64BigEndian(low);
    }
}

/// <summary>Blocks of one chain were stored, the first one behind a parent.</summary>
internal sealed record BlockStoredEvent : KvEvent
{
    /// <summary>Hashes of the blocks (<see cref="KvEvent.LowBits"/>), first block first.</summary>
    public required IReadOnlyList<ulong> Hashes { get; init; }

    /// <summary>Hash of the block before; null for the first block of a prompt.</summary>
    public ulong? Parent { get; init; }

    /// <summary>Token ids of all blocks; may be empty where the sender does not know them.</summary>
    public IReadOnlyList<int> Tokens { get; init; } = [];

    /// <summary>Tokens of one block.</summary>
    public int TokensPerBlock { get; init; }

    /// <summary>Name of the LoRA adapter, or its number where the engine gives no name; empty for none.</summary>
    public string LoraAdapter { get; init; } = "";

    /// <summary>Where the blocks are; null for the GPU.</summary>
    public string? Medium { get; init; }

    /// <summary>
    /// What else makes the KV of a block different, besides the adapter: for each block the engine's extra keys as they were sent, empty
    /// for none. The list is empty when no block has any,
    /// and where the engine's version does not tell.
    /// </summary>
    public IReadOnlyList<byte[]> ExtraKeys { get; init; } = [];

    /// <summary>KV cache group; null where there is one only.</summary>
    public int? Group { get; init; }
}

/// <summary>Blocks are gone.</summary>
internal sealed record BlockRemovedEvent : KvEvent
{
    /// <summary>Hashes of the blocks (<see cref="KvEvent.LowBits"/>).</summary>
    public required IReadOnlyList<ulong> Hashes { get; init; }

    /// <summary>Where they were; null for the GPU.</summary>
    public string? Medium { get; init; }

    /// <summary>KV cache group; null where there is one only.</summary>
    public int? Group { get; init; }
}

/// <summary>Everything is gone.</summary>
internal sealed record AllBlocksClearedEvent : KvEvent;
