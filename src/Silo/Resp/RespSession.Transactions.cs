using System.Buffers;
using System.Globalization;
using System.Text;

namespace KvCache.Silo.Resp;

/// <content>
/// Transactions. What stands behind MULTI is kept as it came, and EXEC reads it once more, with the locks of all its keys: to other clients
/// of this silo it is one step. What cannot be part of one is refused when it comes, and then nothing of the transaction is done.
/// </content>
internal sealed partial class RespSession
{
    private readonly Dictionary<BlockKey, ulong> _watched = [];
    private ArrayBufferWriter<byte>? _queue;
    private int _queued;
    private ulong _queuedKeys;
    private bool _queueIsBroken;

    internal void Multi()
    {
        if (_queue is not null)
        {
            _writer.Error("ERR MULTI calls can not be nested");
            return;
        }

        _queue = new ArrayBufferWriter<byte>();
        (_queued, _queuedKeys, _queueIsBroken) = (0, 0, false);
        _writer.Simple("OK"u8);
    }

    internal void Discard()
    {
        if (_queue is null)
        {
            _writer.Error("ERR DISCARD without MULTI");
            return;
        }

        EndTransaction();
        _writer.Simple("OK"u8);
    }

    /// <summary>WATCH key [key …]: the next transaction is done if nobody has written them until then.</summary>
    internal void Watch()
    {
        if (_queue is not null)
        {
            _writer.Error("ERR WATCH inside MULTI is not allowed");
            return;
        }

        for (var i = 1; i < _arguments.Count; i++)
        {
            if (TryKey(i, out var key))
                _watched.TryAdd(key, Values.Identify(key).Generation);
        }

        _writer.Simple("OK"u8);
    }

    internal void Unwatch()
    {
        _watched.Clear();
        _writer.Simple("OK"u8);
    }

    internal void Execute()
    {
        if (_queue is not { } queue)
        {
            _writer.Error("ERR EXEC without MULTI");
            return;
        }

        if (_queueIsBroken)
        {
            EndTransaction();
            _writer.Error("EXECABORT Transaction discarded because of previous errors.");
            return;
        }

        var keys = _queuedKeys;
        foreach (var key in _watched.Keys)
            keys |= KeyLocks.Of(key);
        using (_locks.Hold(keys))
        {
            var isCurrent = _watched.All(watched => Values.Identify(watched.Key).Generation == watched.Value);
            var count = _queued;
            EndTransaction();
            if (!isCurrent)
            {
                _writer.NullArray();
                return;
            }

            _reader.Prepend(queue.WrittenSpan);
            _writer.Array(count);
            for (; count > 0; count--)
                ServeRequest();
        }
    }

    private void Queue(RespCommand command, int count)
    {
        if (!command.Queues)
        {
            Refuse(count - 1, $"ERR '{command.Name}' cannot stand in a transaction here");
            return;
        }

        if (!ReadArguments(count - 1))
            return; // refused
        if (_queue!.WrittenCount + _arguments.Bytes > RespArguments.MaxBytes)
        {
            Refuse(0, $"ERR a transaction has at most {RespArguments.MaxBytes} bytes here");
            return;
        }

        if (command.Name == "eval" && KnownScripts.Find(_arguments[1]) is null)
        {
            Refuse(0, UnknownScript);
            return;
        }

        _queuedKeys |= KeysOf(command);
        _queued++;
        Write($"*{count}\r\n");
        for (var i = 0; i < count; i++)
        {
            Write(string.Create(CultureInfo.InvariantCulture, $"${_arguments[i].Length}\r\n"));
            _queue.Write(_arguments[i]);
            Write("\r\n");
        }

        _writer.Simple("QUEUED"u8);

        void Write(string text) => Encoding.ASCII.GetBytes(text, _queue);
    }

    private void EndTransaction()
    {
        _queue = null;
        _watched.Clear();
    }
}
