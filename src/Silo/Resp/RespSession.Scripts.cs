using KvCache.Caching;
using KvCache.Engine.Wire;
using KvCache.Silo.Values;

namespace KvCache.Silo.Resp;

/// <content>Scripts that are known by their text; each is one step to this silo's clients.</content>
internal sealed partial class RespSession
{
    /// <summary>EVAL script numkeys key argument ….</summary>
    internal void Evaluate()
    {
        if (KnownScripts.Find(_arguments[1]) is not { } script)
        {
            _writer.Error(UnknownScript);
            return;
        }

        _server.Scripts.Add(_arguments[1], script);
        Evaluate(script);
    }

    private const string UnknownScript =
        "ERR this script is not one of the locks and caches that are known here; Lua is not run (docs/engines/redis.md)";

    internal void EvaluateKnown()
    {
        if (_server.Scripts.Named(_arguments.Text(1)) is { } script)
            Evaluate(script);
        else
            _writer.Error("NOSCRIPT No matching script. Please use EVAL.");
    }

    /// <summary>SCRIPT LOAD | EXISTS | FLUSH.</summary>
    internal void Script()
    {
        if (_arguments.Is(1, "LOAD"u8) && _arguments.Count == 3)
        {
            if (KnownScripts.Find(_arguments[2]) is { } script)
                _server.Scripts.Add(_arguments[2], script);

            // One that is not known is refused when it is called: clients load scripts that they may never need.
            _writer.Bulk(KnownScripts.NameOf(_arguments[2]));
        }
        else if (_arguments.Is(1, "EXISTS"u8) && _arguments.Count > 2)
        {
            _writer.Array(_arguments.Count - 2);
            for (var i = 2; i < _arguments.Count; i++)
                _writer.Integer(_server.Scripts.Named(_arguments.Text(i)) is null ? 0 : 1);
        }
        else if (_arguments.Is(1, "FLUSH"u8) && _arguments.Count is 2 or 3)
        {
            _server.Scripts.Clear();
            _writer.Simple("OK"u8);
        }
        else
        {
            UnknownSubcommand();
        }
    }

    private void Evaluate(KnownScript script)
    {
        var arguments = script switch
        {
            KnownScript.DeleteIfEqual => 1,
            KnownScript.ExtendIfEqual => 3,
            KnownScript.SetEntry => 4,
            KnownScript.GetFields => 0,
            _ => 2,
        };
        if (!TryInteger(2, out var keys))
            return;
        if (keys != 1 || _arguments.Count < 4 + arguments)
        {
            _writer.Error($"ERR this script has one key and {arguments} arguments or more here");
            return;
        }

        if (!TryKey(3, out var key))
        {
            _writer.Error(BadKey);
            return;
        }

        using (_locks.Hold(KeyLocks.Of(key)))
            Evaluate(script, key);
    }

    private void Evaluate(KnownScript script, BlockKey key)
    {
        if (script is KnownScript.SetEntry)
        {
            SetEntry(key);
            return;
        }

        if (script is KnownScript.GetFields)
        {
            GetFields(key: 3);
            return;
        }

        if (!TryFind(3, ValueKind.Bytes, out var lease))
            return;
        using var found = lease;
        var isMine = lease is not null && ValueBlocks.ValueOf(lease).SequenceEqual(_arguments[4]);
        if (!isMine && !(lease is null && script == KnownScript.ExpireOrSet))
        {
            _writer.Integer(script == KnownScript.ExpireOrSet ? -1 : 0);
            return;
        }

        if (script == KnownScript.DeleteIfEqual)
        {
            AnswerDeleted(Values.Delete([key]));
            return;
        }

        if (!TryInteger(5, out var milliseconds))
            return;
        if (script == KnownScript.ExtendIfEqual)
        {
            if (lease!.ExpiresAt is not { } end)
            {
                _writer.Integer(0);
                return;
            }

            milliseconds += _arguments.Is(6, "0"u8) ? (long)(end - _server.Time.GetUtcNow()).TotalMilliseconds : 0;
        }

        if (milliseconds is <= 0 or > (long)1e15)
        {
            _writer.Error("ERR invalid expire time in 'pexpire' command");
            return;
        }

        var life = TimeSpan.FromMilliseconds(milliseconds);
        if (lease is null)
            SetToken(key, life);
        else if (Values.Pin(key, life))
            AnswerLife(Values.SetTimeToLive(key, life));
        else
            _writer.Error(OutOfMemory);
    }

    private void SetToken(BlockKey key, TimeSpan life)
    {
        using var write = Values.Begin(key, _arguments[4].Length, _arguments[3]);
        if (write.HasMemory)
            write.Append(_arguments[4]);
        var outcome = write.Finish(_server.Terms with { TimeToLive = life });
        if (outcome == PutOutcome.Stored)
            outcome = Lock(key, life);
        if (outcome == PutOutcome.Stored)
            _writer.Integer(1);
        else
            Answer(outcome);
    }

    // KEYS[1], absexp, sldexp, seconds, data.
    private void SetEntry(BlockKey key)
    {
        if (!TryInteger(6, out var seconds))
            return;
        (ReadOnlyMemory<byte> Name, int Value)[] fields = [("absexp"u8.ToArray(), 4), ("sldexp"u8.ToArray(), 5), ("data"u8.ToArray(), 7)];
        var bytes = fields.Sum(field => FieldTable.HeadBytes + field.Name.Length + _arguments[field.Value].Length);
        using var write = Values.Begin(key, bytes, _arguments[3], ValueKind.Fields);
        if (write.HasMemory)
        {
            var into = new FieldAppender(write);
            foreach (var (name, value) in fields)
                into.Append(name.Span, _arguments[value]);
        }

        var outcome = write.Finish(
            seconds > 0 ? _server.Terms with { TimeToLive = TimeSpan.FromSeconds(Math.Min(seconds, int.MaxValue)) } : _server.Terms);
        if (outcome == PutOutcome.Stored)
            _writer.Integer(1);
        else
            Answer(outcome);
    }
}
