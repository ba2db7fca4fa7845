using System.Diagnostics;
using System.Globalization;
using System.Text;
using KvCache.Engine.Wire;
using KvCache.Silo.Values;

namespace KvCache.Silo.Resp;

/// <content>What clients ask of connections, of values' insides and of numbers.</content>
internal sealed partial class RespSession
{
    private readonly long _began = Stopwatch.GetTimestamp();
    private string _libraryName = "", _libraryVersion = "";
    private string _lastCommand = "";

    internal void Client()
    {
        if (_arguments.Is(1, "ID"u8) && _arguments.Count == 2)
            _writer.Integer(_id);
        else if (_arguments.Is(1, "GETNAME"u8) && _arguments.Count == 2)
            NameOrNull();
        else if (_arguments.Is(1, "INFO"u8) && _arguments.Count == 2)
            _writer.Bulk(Description + "\n");
        else if (_arguments.Is(1, "LIST"u8))
            ListClients();
        else if (_arguments.Is(1, "SETNAME"u8) && _arguments.Count == 3)
            SetName();
        else if (_arguments.Is(1, "SETINFO"u8) && _arguments.Count == 4)
            SetInfo();
        else if ((_arguments.Is(1, "NO-EVICT"u8) || _arguments.Is(1, "NO-TOUCH"u8)) && _arguments.Count == 3)
            _writer.Simple("OK"u8);
        else
            UnknownSubcommand();
    }

    internal void ServerTime()
    {
        var now = _server.Time.GetUtcNow();
        _writer.Array(2);
        _writer.Bulk(Text(now.ToUnixTimeSeconds()));
        _writer.Bulk(Text(now.Ticks % TimeSpan.TicksPerSecond / TimeSpan.TicksPerMicrosecond));
    }

    /// <summary>OBJECT ENCODING | REFCOUNT key. How long a value was idle, or how often it was used, is not kept in Redis' terms.</summary>
    internal void Object()
    {
        var encoding = _arguments.Is(1, "ENCODING"u8);
        if ((!encoding && !_arguments.Is(1, "REFCOUNT"u8)) || _arguments.Count != 3)
            UnknownSubcommand();
        else if (!TryKey(2, out var key) || Values.Peek(key) is not { } value)
            _writer.Null();
        else if (encoding)
            _writer.Bulk(value.Kind == ValueKind.Fields ? "listpack" : "raw");
        else
            _writer.Integer(1);
    }

    /// <summary>MEMORY USAGE key: the whole pages that it takes.</summary>
    internal void Memory()
    {
        if (!_arguments.Is(1, "USAGE"u8) || (_arguments.Count != 3 && !(_arguments.Count == 5 && _arguments.Is(3, "SAMPLES"u8))))
            UnknownSubcommand();
        else if (TryKey(2, out var key) && Values.Identify(key).ArenaBytes is var bytes and > 0)
            _writer.Integer(bytes);
        else
            _writer.Null();
    }

    internal void GetAndDelete()
    {
        if (!TryFind(1, ValueKind.Bytes, out var lease))
            return;
        using var found = lease;
        if (lease is not null && Values.Delete([KeyOf(_arguments[1])]) is [ItemOutcome.Unconfirmed] unconfirmed)
            AnswerDeleted(unconfirmed);
        else
            Bulk(lease);
    }

    internal void IncrementBy(int sign)
    {
        if (!TryInteger(2, out var by))
            return;
        if (sign < 0 && by == long.MinValue)
            _writer.Error("ERR decrement would overflow");
        else
            Increment(sign * by);
    }

    internal void Increment(long by)
    {
        if (!IsKey(_arguments[1]))
        {
            _writer.Error(BadKey);
            return;
        }

        if (!TryFind(1, ValueKind.Bytes, out var lease))
            return;
        using var old = lease;
        var number = 0L;
        if (old is not null && !RespBuffer.TryParseExact(ValueBlocks.ValueOf(old), out number))
        {
            _writer.Error("ERR value is not an integer or out of range");
            return;
        }

        if (by > 0 ? number > long.MaxValue - by : number < long.MinValue - by)
        {
            _writer.Error("ERR increment or decrement would overflow");
            return;
        }

        number += by;
        var text = Encoding.ASCII.GetBytes(Text(number));
        using var write = Values.Begin(KeyOf(_arguments[1]), text.Length, _arguments[1]);
        if (write.HasMemory)
            write.Append(text);
        var life = old is null ? _server.Terms.TimeToLive : old.ExpiresAt - _server.Time.GetUtcNow();
        var outcome = write.Finish(_server.Terms with { TimeToLive = life <= TimeSpan.Zero ? TimeSpan.FromMilliseconds(1) : life });
        if (outcome == PutOutcome.Stored)
            _writer.Integer(number);
        else
            Answer(outcome);
    }

    private string Description => string.Create(
        CultureInfo.InvariantCulture,
        $"id={_id} addr={Peer} laddr={_server.Address} fd=-1 name={_name} age={(long)Stopwatch.GetElapsedTime(_began).TotalSeconds} "
        + $"idle={(long)(Idle ?? TimeSpan.Zero).TotalSeconds} flags={(_queue is null ? "N" : "x")} db=0 sub=0 psub=0 ssub=0 "
        + $"multi={(_queue is null ? -1 : _queued)} watch={_watched.Count} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 "
        + $"obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={_lastCommand} user={_user} redir=-1 resp={_writer.Version} lib-name={_libraryName} "
        + $"lib-ver={_libraryVersion}");

    // A tenant sees its own connections.
    private void ListClients()
    {
        var ids = new HashSet<long>();
        if (_arguments.Count > 3 && _arguments.Is(2, "ID"u8))
        {
            for (var i = 3; i < _arguments.Count; i++)
            {
                if (!_arguments.TryInteger(i, out var id) || id <= 0)
                {
                    _writer.Error("ERR Invalid client ID");
                    return;
                }

                ids.Add(id);
            }
        }
        else if (_arguments.Count != 2 && !(_arguments.Count == 4 && _arguments.Is(2, "TYPE"u8) && _arguments.Is(3, "NORMAL"u8)))
        {
            SyntaxError();
            return;
        }

        var text = new StringBuilder();
        foreach (var session in _server.Sessions.Values.OrderBy(session => session._id))
        {
            if (session._user == _user && session.Authenticated && (ids.Count == 0 || ids.Contains(session._id)))
                text.Append(session.Description).Append('\n');
        }

        _writer.Bulk(text.ToString());
    }

    private void NameOrNull()
    {
        if (_name.Length == 0)
            _writer.Null();
        else
            _writer.Bulk(_name);
    }

    private void SetInfo()
    {
        var isName = _arguments.Is(2, "LIB-NAME"u8);
        if (!isName && !_arguments.Is(2, "LIB-VER"u8))
        {
            _writer.Error($"ERR Unrecognized option '{_arguments.Text(2)}'");
            return;
        }

        if (_arguments[3].ContainsAnyExceptInRange((byte)'!', (byte)'~'))
        {
            _writer.Error($"ERR {_arguments.Text(2).ToLowerInvariant()} cannot contain spaces, newlines or special characters.");
            return;
        }

        (_libraryName, _libraryVersion) = isName ? (_arguments.Text(3), _libraryVersion) : (_libraryName, _arguments.Text(3));
        _writer.Simple("OK"u8);
    }

    private void SetName()
    {
        if (_arguments[2].ContainsAnyExceptInRange((byte)'!', (byte)'~'))
        {
            _writer.Error("ERR Client names cannot contain spaces, newlines or special characters.");
            return;
        }

        _name = _arguments.Text(2);
        _writer.Simple("OK"u8);
    }
}
