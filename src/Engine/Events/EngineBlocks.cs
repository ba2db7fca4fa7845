using System.Security.Cryptography;

namespace KvCache.Engine.Events;

/// <summary>
/// What lies in one engine's GPU memory, from its events. Blocks are found by tokens, whatever the engine hashes with: an event carries its
/// blocks' tokens and the hash of the block before, and that is enough to give every block this cache's own name (with the engine's block
/// size).
/// </summary>
/// <remarks>
/// It is advice. Events that were lost leave blocks that are not there any more, or hide some; the engine's own look-up is the truth. Only
/// the first KV cache group is followed: a prefix that the others do not have is seldom. All members are thread-safe.
/// </remarks>
internal sealed class EngineBlocks
{
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, BlockHash> _names = [];
    private readonly Dictionary<BlockHash, int> _present = [];
    private readonly int _maxBlocks;
    private int _tokensPerBlock;
    private long _dropped;

    /// <summary>Creates an empty table.</summary>
    /// <param name="maxBlocks">Most blocks; further ones are not remembered.</param>
    public EngineBlocks(int maxBlocks)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(maxBlocks, 1);
        _maxBlocks = maxBlocks;
    }

    /// <summary>Blocks in the table.</summary>
    public int Count
    {
        get
        {
            lock (_lock)
                return _names.Count;
        }
    }

    /// <summary>Blocks that were not remembered: the table was full, or the block before was not known.</summary>
    public long Dropped => Volatile.Read(ref _dropped);

    /// <summary>Takes notice of what happened.</summary>
    public void Apply(KvEvent change)
    {
        lock (_lock)
        {
            switch (change)
            {
                case BlockStoredEvent stored when IsFollowed(stored.Medium, stored.Group):
                    Store(stored);
                    break;
                case BlockRemovedEvent removed when IsFollowed(removed.Medium, removed.Group):
                    foreach (var hash in removed.Hashes)
                        Remove(hash);
                    break;
                case AllBlocksClearedEvent:
                    Clear();
                    break;
            }
        }
    }

    /// <summary>Forgets everything: the engine has started anew.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            _names.Clear();
            _present.Clear();
        }
    }

    /// <summary>Tokens at the front of a prompt that the engine has.</summary>
    /// <param name="tokens">The prompt.</param>
    /// <param name="loraAdapter">Adapter of the request; empty for none.</param>
    public int FrontTokens(ReadOnlySpan<int> tokens, string loraAdapter = "")
    {
        lock (_lock)
        {
            var found = 0;
            if (_tokensPerBlock == 0)
                return found;
            var name = RootOf(loraAdapter);
            while (tokens.Length - found >= _tokensPerBlock)
            {
                name = PrefixHasher.HashBlock(name, tokens.Slice(found, _tokensPerBlock));
                if (!_present.ContainsKey(name))
                    break;
                found += _tokensPerBlock;
            }

            return found;
        }
    }

    private static bool IsFollowed(string? medium, int? group) => medium is null or KvEvent.Gpu && group is null or 0;

    private static BlockHash RootOf(string loraAdapter) =>
        loraAdapter.Length == 0 ? PrefixHasher.TokenRoot : PrefixHasher.HashText(loraAdapter);

    // Two blocks of equal tokens and different extra keys are not interchangeable: the name of a block with such keys is one that tokens
    // alone do not lead to.
    private static BlockHash With(BlockHash name, ReadOnlySpan<byte> extraKeys)
    {
        Span<byte> key = stackalloc byte[BlockHash.Size + SHA256.HashSizeInBytes];
        name.CopyTo(key);
        SHA256.HashData(extraKeys, key[BlockHash.Size..]);
        return PrefixHasher.HashEngineKey(key);
    }

    private void Store(BlockStoredEvent stored)
    {
        var size = stored.TokensPerBlock;
        var name = RootOf(stored.LoraAdapter);
        if (size < 1 || stored.Tokens.Count != (long)size * stored.Hashes.Count
            || (stored.Parent is { } parent && !_names.TryGetValue(parent, out name)))
        {
            Drop(stored.Hashes.Count);
            return;
        }

        var tokens = new int[size];
        for (var block = 0; block < stored.Hashes.Count; block++)
        {
            for (var i = 0; i < size; i++)
                tokens[i] = stored.Tokens[(block * size) + i];
            name = PrefixHasher.HashBlock(name, tokens);
            if (block < stored.ExtraKeys.Count && stored.ExtraKeys[block].Length > 0)
                name = With(name, stored.ExtraKeys[block]);
            Remove(stored.Hashes[block]);
            if (_names.Count >= _maxBlocks)
            {
                Drop(stored.Hashes.Count - block);
                return;
            }

            _tokensPerBlock = size;
            _names.Add(stored.Hashes[block], name);
            System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_present, name, out _)++;
        }
    }

    private void Remove(ulong hash)
    {
        if (!_names.Remove(hash, out var name))
            return;
        if (_present[name] == 1)
            _present.Remove(name);
        else
            _present[name]--;
    }

    private void Drop(int blocks) => Volatile.Write(ref _dropped, _dropped + blocks);
}
