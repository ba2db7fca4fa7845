using KvCache.Caching;
using KvCache.Engine.Storage;
using KvCache.Engine.Wire;
using KvCache.Silo.Data;
using KvCache.Silo.Values;

namespace KvCache.Silo.Resp;

/// <content>Hashes: values with named fields. A change writes the whole value anew, and is one step to this silo's clients.</content>
internal sealed partial class RespSession
{
    private const int MaxFields = 1024;
    private const int LongestCollected = 64 * 1024; // longer values of fields wait in the arena until all fields are there

    private readonly List<FieldWrite> _fields = [];

    // A field to write: an argument, and another one with its value or memory that has it.
    private readonly record struct FieldWrite(int Name, int Value, ValueWrite? Long);

    /// <summary>HSET key field value [field value …]; HMSET says OK instead of a number.</summary>
    internal void SetFields(int count) => WriteFields(count, onlyNew: false);

    /// <summary>HSETNX key field value.</summary>
    internal void SetNewField(int count) => WriteFields(count, onlyNew: true);

    internal void GetField() => WithFields(
        1,
        lease =>
        {
            var table = new FieldTable(ValueBlocks.ValueOf(lease));
            if (table.Find(_arguments[2]))
                _writer.Bulk(table.Value);
            else
                _writer.Null();
        },
        () => _writer.Null());

    internal void GetFields() => GetFields(key: 1);

    private void GetFields(int key) => WithFields(
        key,
        lease =>
        {
            _writer.Array(_arguments.Count - key - 1);
            for (var i = key + 1; i < _arguments.Count; i++)
            {
                var table = new FieldTable(ValueBlocks.ValueOf(lease));
                if (table.Find(_arguments[i]))
                    _writer.Bulk(table.Value);
                else
                    _writer.Null();
            }
        },
        () =>
        {
            _writer.Array(_arguments.Count - key - 1);
            for (var i = key + 1; i < _arguments.Count; i++)
                _writer.Null();
        });

    internal void GetAllFields() => ListFields(names: true, values: true);

    internal void GetFieldNames() => ListFields(names: true, values: false);

    internal void GetFieldValues() => ListFields(names: false, values: true);

    internal void HasField() => CountOfField((ref table) => table.Find(_arguments[2]) ? 1 : 0);

    internal void FieldLength() => CountOfField((ref table) => table.Find(_arguments[2]) ? table.Value.Length : 0);

    internal void CountFields() => CountOfField((ref table) => table.Count());

    /// <summary>HDEL key field [field …].</summary>
    internal void DeleteFields()
    {
        if (!TryFind(1, ValueKind.Fields, out var old))
            return;
        using (old)
        {
            if (old is null)
            {
                _writer.Integer(0);
                return;
            }

            var (kept, bytes, all) = (0, 0, 0);
            var table = new FieldTable(ValueBlocks.ValueOf(old));
            for (; table.Read(); all++)
            {
                if (IsNamed(table.Name))
                    continue;
                kept++;
                bytes += FieldTable.HeadBytes + table.Name.Length + table.Value.Length;
            }

            if (kept == 0)
            {
                var outcomes = Values.Delete([KeyOf(_arguments[1])]);
                if (outcomes[0] == ItemOutcome.Unconfirmed)
                    AnswerDeleted(outcomes);
                else
                    _writer.Integer(all);
                return;
            }

            var outcome = kept == all
                ? PutOutcome.Stored
                : Rewrite(old, bytes, (ref into) =>
                {
                    var fields = new FieldTable(ValueBlocks.ValueOf(old));
                    while (fields.Read())
                    {
                        if (!IsNamed(fields.Name))
                            into.Append(fields.Name, fields.Value);
                    }
                });
            if (outcome == PutOutcome.Stored)
                _writer.Integer(all - kept);
            else
                Answer(outcome);
        }

        bool IsNamed(ReadOnlySpan<byte> name)
        {
            for (var i = 2; i < _arguments.Count; i++)
            {
                if (name.SequenceEqual(_arguments[i]))
                    return true;
            }

            return false;
        }
    }

    private void WriteFields(int count, bool onlyNew)
    {
        if (count % 2 != 0)
        {
            Refuse(count - 1, $"ERR wrong number of arguments for '{_arguments.Text(0).ToLowerInvariant()}' command");
            return;
        }

        var says = _arguments.Is(0, "HMSET"u8);
        try
        {
            if (!ReceiveFields(count))
                return;
            using (_locks.Hold(KeyLocks.Of(KeyOf(_arguments[1]))))
                StoreFields(onlyNew, says);
        }
        finally
        {
            _fields.ForEach(field => field.Long?.Dispose());
            _fields.Clear();
        }
    }

    // Everything is read, so that the connection stays in step, and then what is wrong with it is told.
    private bool ReceiveFields(int count)
    {
        var error = ReadKey() ? null : BadKey;
        var left = (long)(_server.Options.MaxPendingShare * Values.Capacity);
        for (var i = 2; i < count; i += 2)
        {
            var nameBytes = _reader.ReadLength();
            if (_arguments.Bytes + nameBytes > RespArguments.MaxBytes)
                error ??= TooLong;
            var name = error is null ? _arguments.Add(nameBytes) : default;
            var nameAt = _arguments.Count - 1;
            if (error is null)
                _reader.ReadExact(name);
            else
                _reader.Skip(nameBytes);
            _reader.ReadEnd();
            var length = _reader.ReadLength();
            if (_fields.Count == MaxFields)
                error ??= TooManyFields;
            if (error is null && length <= LongestCollected && _arguments.Bytes + length <= RespArguments.MaxBytes)
            {
                _reader.ReadExact(_arguments.Add(length));
                _reader.ReadEnd();
                _fields.Add(new FieldWrite(nameAt, nameAt + 1, null));
                continue;
            }

            left -= Arena.RoundUp(length + 1);
            if (left < 0)
                error ??= OutOfMemory;
            _reader.WaitForArgument();
            var write = error is null ? Values.Begin(KeyOf(_arguments[1]), length, _arguments[1]) : null;
            if (write is not null)
                _fields.Add(new FieldWrite(nameAt, 0, write));
            if (write is { HasMemory: false })
                error ??= OutOfMemory;
            Receive(write, length);
        }

        if (error is not null)
            _writer.Error(error);
        return error is null;
    }

    private void StoreFields(bool onlyNew, bool saysOk)
    {
        if (!TryFind(1, ValueKind.Fields, out var old))
            return;
        using (old)
        {
            var (bytes, count, replaced) = (0L, 0, 0);
            for (var i = 0; i < _fields.Count; i++)
            {
                if (LastOf(_arguments[_fields[i].Name]) != i)
                    continue; // named again behind
                bytes += FieldTable.HeadBytes + _arguments[_fields[i].Name].Length + ValueOf(_fields[i]).Length;
                count++;
            }

            var added = count;
            var table = new FieldTable(old is null ? default : ValueBlocks.ValueOf(old));
            while (table.Read())
            {
                if (LastOf(table.Name) >= 0)
                {
                    replaced++;
                    continue;
                }

                bytes += FieldTable.HeadBytes + table.Name.Length + table.Value.Length;
                count++;
            }

            if (onlyNew && replaced > 0)
            {
                _writer.Integer(0);
                return;
            }

            if (count > MaxFields)
            {
                _writer.Error(TooManyFields);
                return;
            }

            var outcome = bytes > ValueBlocks.MaxValueBytes ? PutOutcome.TooLarge : Rewrite(old, (int)bytes, (ref into) =>
            {
                var kept = new FieldTable(old is null ? default : ValueBlocks.ValueOf(old));
                while (kept.Read())
                    into.Append(kept.Name, LastOf(kept.Name) is >= 0 and var last ? ValueOf(_fields[last]) : kept.Value);
                for (var i = 0; i < _fields.Count; i++)
                {
                    var name = _arguments[_fields[i].Name];
                    if (FirstOf(name) == i && (old is null || !new FieldTable(ValueBlocks.ValueOf(old)).Find(name)))
                        into.Append(name, ValueOf(_fields[LastOf(name)]));
                }
            });
            if (outcome == PutOutcome.Stored && !saysOk)
                _writer.Integer(added - replaced);
            else
                Answer(outcome);
        }
    }

    private delegate void FieldsWriter(ref FieldAppender into);

    private delegate long FieldsReader(ref FieldTable table);

    // Stores a hash in place of an old one, whose life it has.
    private PutOutcome Rewrite(BlockLease? old, int bytes, FieldsWriter write)
    {
        var life = old is null ? _server.Terms.TimeToLive : old.ExpiresAt - _server.Time.GetUtcNow();
        if (life <= TimeSpan.Zero)
            life = TimeSpan.FromMilliseconds(1);
        using var value = Values.Begin(KeyOf(_arguments[1]), bytes, _arguments[1], ValueKind.Fields);
        if (value.HasMemory)
        {
            var into = new FieldAppender(value);
            write(ref into);
        }

        return value.Finish(_server.Terms with { TimeToLive = life });
    }

    private readonly ref struct FieldAppender(ValueWrite value)
    {
        public void Append(ReadOnlySpan<byte> name, ReadOnlySpan<byte> bytes)
        {
            Span<byte> head = stackalloc byte[FieldTable.HeadBytes];
            FieldTable.WriteHead(head, name.Length, bytes.Length);
            value.Append(head);
            value.Append(name);
            value.Append(bytes);
        }
    }

    private ReadOnlySpan<byte> ValueOf(FieldWrite field) => field.Long is { } write ? write.Written : _arguments[field.Value];

    private int FirstOf(ReadOnlySpan<byte> name)
    {
        var first = 0;
        while (!name.SequenceEqual(_arguments[_fields[first].Name]))
            first++;
        return first;
    }

    private int LastOf(ReadOnlySpan<byte> name)
    {
        for (var i = _fields.Count - 1; i >= 0; i--)
        {
            if (name.SequenceEqual(_arguments[_fields[i].Name]))
                return i;
        }

        return -1;
    }

    private void ListFields(bool names, bool values) => WithFields(
        1,
        lease =>
        {
            var count = new FieldTable(ValueBlocks.ValueOf(lease)).Count();
            if (names && values)
                _writer.Map(count);
            else
                _writer.Array(count);
            var table = new FieldTable(ValueBlocks.ValueOf(lease));
            while (table.Read())
            {
                if (names)
                    _writer.Bulk(table.Name);
                if (values)
                    _writer.Bulk(table.Value);
            }
        },
        () =>
        {
            if (names && values)
                _writer.Map(0);
            else
                _writer.Array(0);
        });

    private void CountOfField(FieldsReader count) => WithFields(
        1,
        lease =>
        {
            var table = new FieldTable(ValueBlocks.ValueOf(lease));
            _writer.Integer(count(ref table));
        },
        () => _writer.Integer(0));

    private void WithFields(int index, Action<BlockLease> present, Action absent)
    {
        if (!TryFind(index, ValueKind.Fields, out var lease))
            return;
        using (lease)
        {
            if (lease is null)
                absent();
            else
                present(lease);
        }
    }

    private static string TooManyFields => $"ERR a hash has at most {MaxFields} fields here";
}
