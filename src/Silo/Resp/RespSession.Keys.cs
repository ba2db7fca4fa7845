using KvCache.Engine.Index;
using KvCache.Engine.Wire;
using KvCache.Silo.Values;

namespace KvCache.Silo.Resp;

/// <content>Keys: whether they are there, for how long, which ones.</content>
internal sealed partial class RespSession
{
    private const int KeysPerDelete = 1024;
    private const int DefaultScanCount = 10;

    private readonly List<BlockKey> _scanned = [];

    internal void Exists()
    {
        var count = 0;
        for (var i = 1; i < _arguments.Count; i++)
            count += TryKey(i, out var key) && Values.Exists(key) ? 1 : 0;
        _writer.Integer(count);
    }

    internal void Delete()
    {
        var keys = new HashSet<BlockKey>();
        for (var i = 1; i < _arguments.Count; i++)
        {
            if (TryKey(i, out var key))
                keys.Add(key);
        }

        AnswerDeleted(keys.Count == 0 ? [] : Values.Delete([.. keys]));
    }

    // As Redis says it where too few replicas take part.
    private void AnswerDeleted(ItemOutcome[] outcomes)
    {
        if (outcomes.Contains(ItemOutcome.Unconfirmed))
            _writer.Error("NOREPLICAS A silo, or Redis, that may have a key did not confirm its deletion; it goes on in the background");
        else
            _writer.Integer(outcomes.Count(outcome => outcome == ItemOutcome.Done));
    }

    private void AnswerLife(ItemOutcome outcome)
    {
        if (outcome == ItemOutcome.Unconfirmed)
            _writer.Error("NOREPLICAS A silo, or Redis, that may have the key did not confirm its life; there it keeps the old one");
        else
            _writer.Integer(outcome == ItemOutcome.Done ? 1 : 0);
    }

    internal void Type() => _writer.Simple(!TryKey(1, out var key) || Values.Peek(key) is not { } value ? "none"u8
        : value.Kind == ValueKind.Fields ? "hash"u8
        : "string"u8);

    /// <summary>
    /// SCAN cursor [MATCH pattern] [COUNT n] [TYPE t]: the values of this silo. The cursor is a shard of its index, so that it means the
    /// same on every connection and costs nothing to keep; values that stay from beginning to end are told exactly once.
    /// </summary>
    internal void Scan()
    {
        if (!_arguments.TryInteger(1, out var position) || position is < 0 or > int.MaxValue)
        {
            _writer.Error("ERR invalid cursor");
            return;
        }

        if (!TryScanOptions(out var pattern, out var count, out var kinds))
            return;
        var cursor = (int)position;
        var found = new RespArguments();
        var label = new byte[_server.Options.MaxKeyBytes];
        bool more;
        do
        {
            _scanned.Clear();
            more = Values.Directory.Index.ReadKeys(BlockDirectory.Self, ref cursor, _scanned);
            foreach (var key in _scanned)
            {
                if (key.Namespace != _namespace || (kinds is { } kind && Values.Peek(key)?.Kind != kind)
                    || Values.CopyLabel(key, label) is not (> 0 and var length))
                    continue;
                if (pattern < 0 || GlobPattern.IsMatch(_arguments[pattern], label.AsSpan(0, length)))
                    label.AsSpan(0, length).CopyTo(found.Add(length));
            }
        }
        while (more && found.Count < count);
        _scanned.Clear();
        _scanned.TrimExcess();
        _writer.Array(2);
        _writer.Bulk(more ? cursor.ToString(System.Globalization.CultureInfo.InvariantCulture) : "0");
        _writer.Array(found.Count);
        for (var i = 0; i < found.Count; i++)
            _writer.Bulk(found[i]);
    }

    internal void Count() => _writer.Integer(CountKeys());

    internal void Flush()
    {
        if (!_server.Options.AllowFlush)
        {
            _writer.Error($"NOPERM User {_user} has no permissions to run the '{_arguments.Text(0).ToLowerInvariant()}' command");
            return;
        }

        // What other silos and Redis have goes too: the index knows of all of it.
        var doomed = new HashSet<BlockKey>();
        for (var holder = 0; holder < PrefixIndex.MaxHolders; holder++)
            ForEachShard(holder, key => doomed.Add(key));
        ItemOutcome[] outcomes = [.. doomed.Chunk(KeysPerDelete).SelectMany(Values.Delete)];
        if (outcomes.Contains(ItemOutcome.Unconfirmed))
            AnswerDeleted(outcomes);
        else
            _writer.Simple("OK"u8);
    }

    private long CountKeys()
    {
        var count = 0L;
        ForEachShard(BlockDirectory.Self, _ => count++);
        return count;
    }

    private void ForEachShard(int holder, Action<BlockKey> visit)
    {
        if (Values.Directory.Index.CountOf(holder) == 0)
            return;
        var cursor = 0;
        while (Values.Directory.Index.ReadKeys(holder, ref cursor, _scanned))
        {
            foreach (var key in _scanned)
            {
                if (key.Namespace == _namespace)
                    visit(key);
            }

            _scanned.Clear();
        }

        _scanned.TrimExcess();
    }

    private bool TryScanOptions(out int pattern, out long count, out ValueKind? kind)
    {
        (pattern, count, kind) = (-1, DefaultScanCount, null);
        for (var i = 2; i < _arguments.Count; i += 2)
        {
            if (i + 1 == _arguments.Count)
            {
                SyntaxError();
                return false;
            }

            if (_arguments.Is(i, "MATCH"u8))
            {
                pattern = i + 1;
            }
            else if (_arguments.Is(i, "TYPE"u8))
            {
                kind = _arguments.Is(i + 1, "string"u8) ? ValueKind.Bytes
                    : _arguments.Is(i + 1, "hash"u8) ? ValueKind.Fields
                    : (ValueKind)0; // there is nothing else
            }
            else if (!_arguments.Is(i, "COUNT"u8))
            {
                SyntaxError();
                return false;
            }
            else if (!TryInteger(i + 1, out count))
            {
                return false;
            }
            else if (count < 1)
            {
                SyntaxError();
                return false;
            }
        }

        return true;
    }
}
