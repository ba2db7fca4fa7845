using System.Buffers;

namespace KvCache.Engine.Events;

/// <summary>How events are written.</summary>
internal enum KvEventFormat
{
    /// <summary>Positional arrays, as vLLM up to 0.23.</summary>
    Arrays,

    /// <summary>Maps with a member <c>type</c>, as vLLM from 0.24.</summary>
    Maps,
}

/// <summary>
/// Writes batches of the events of a silo. Hashes are the blocks' 32 bytes, or their low 64 bits as an integer for consumers that know no
/// other form.
/// </summary>
internal sealed class KvEventWriter
{
    private readonly KvEventFormat _format;
    private readonly bool _integers;
    private readonly ArrayBufferWriter<byte> _events = new(4096);
    private readonly MessagePackWriter _writer;
    private int _count;

    /// <summary>Creates a writer of an empty batch.</summary>
    /// <param name="format">How events are written.</param>
    /// <param name="integerHashes">Hashes as integers of 64 bits instead of bytes.</param>
    public KvEventWriter(KvEventFormat format, bool integerHashes)
    {
        _format = format;
        _integers = integerHashes;
        _writer = new MessagePackWriter(_events);
    }

    /// <summary>Events in the batch.</summary>
    public int Count => _count;

    /// <summary>Adds a stored block. A silo does not know its tokens: the list of tokens is empty.</summary>
    /// <param name="hash">The block.</param>
    /// <param name="parent">The block before it; zero for none.</param>
    /// <param name="tokensPerBlock">Tokens of the block.</param>
    /// <param name="medium">Where it is.</param>
    public void Stored(BlockHash hash, BlockHash parent, int tokensPerBlock, string medium)
    {
        Begin("BlockStored", 7);
        Name("block_hashes");
        _writer.Array(1);
        Hash(hash);
        Name("parent_block_hash");
        if (parent.IsZero)
            _writer.Nil();
        else
            Hash(parent);
        Name("token_ids");
        _writer.Array(0);
        Name("block_size");
        _writer.UInt64((ulong)tokensPerBlock);
        Name("lora_id");
        _writer.Nil();
        Name("medium");
        _writer.Text(medium);
        Name("lora_name");
        _writer.Nil();
    }

    /// <summary>Adds a block that is gone.</summary>
    /// <param name="hash">The block.</param>
    /// <param name="medium">Where it was.</param>
    public void Removed(BlockHash hash, string medium)
    {
        Begin("BlockRemoved", 2);
        Name("block_hashes");
        _writer.Array(1);
        Hash(hash);
        Name("medium");
        _writer.Text(medium);
    }

    /// <summary>Adds that everything is gone.</summary>
    public void Cleared() => Begin("AllBlocksCleared", 0);

    /// <summary>Ends the batch and starts a new one.</summary>
    /// <param name="time">Time of the batch.</param>
    public byte[] Take(DateTimeOffset time)
    {
        var batch = new ArrayBufferWriter<byte>(_events.WrittenCount + 64);
        var writer = new MessagePackWriter(batch);
        var seconds = (time - DateTimeOffset.UnixEpoch).TotalSeconds;
        if (_format == KvEventFormat.Arrays)
        {
            writer.Array(2);
            writer.Double(seconds);
        }
        else
        {
            writer.Map(2);
            writer.Text("ts");
            writer.Double(seconds);
            writer.Text("events");
        }

        writer.Array(_count);
        batch.Write(_events.WrittenSpan);
        _events.ResetWrittenCount();
        _count = 0;
        return batch.WrittenSpan.ToArray();
    }

    private void Begin(string type, int members)
    {
        _count++;
        if (_format == KvEventFormat.Arrays)
        {
            _writer.Array(1 + members);
        }
        else
        {
            _writer.Map(1 + members);
            _writer.Text("type");
        }

        _writer.Text(type);
    }

    private void Name(string name)
    {
        if (_format == KvEventFormat.Maps)
            _writer.Text(name);
    }

    private void Hash(BlockHash hash)
    {
        var bytes = BlockHash.BytesOf(in hash);
        if (_integers)
            _writer.UInt64(KvEvent.LowBits(bytes));
        else
            _writer.Bytes(bytes);
    }
}
