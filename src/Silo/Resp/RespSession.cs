using System.Diagnostics;
using System.Net.Sockets;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using KvCache.Engine.Wire;
using KvCache.Silo.Connections;
using KvCache.Silo.Data;
using KvCache.Silo.Values;
using Microsoft.Extensions.Logging;

namespace KvCache.Silo.Resp;

/// <summary>One connection of the Redis endpoint: reads requests, in a pipeline or one by one, and answers in their order.</summary>
internal sealed partial class RespSession : Connection
{
    private const int QuotedBytes = 128;

    private readonly RespServer _server;
    private readonly SocketTransport _transport;
    private readonly RespReader _reader;
    private readonly RespWriter _writer;
    private readonly RespArguments _arguments = new();
    private NamespaceId _namespace;
    private KeyLocks _locks = null!; // with the namespace
    private bool _quit;
    private string? _certified;

    public RespSession(RespServer server, ByteChannel channel, string peer, ILogger logger)
        : base(channel, peer, server.Options, server.Counters, logger)
    {
        _server = server;
        _id = server.Joined(this);
        _transport = new SocketTransport(channel);
        _writer = new RespWriter(_transport);
        _reader = new RespReader(_transport, _writer.Flush) { MaxLength = (int)server.Options.MaxValueSize.Bytes };
        if (!server.Tenants.NeedSecrets)
            Bind(TenantRegistry.DefaultTenant);
    }

    public override void Dispose()
    {
        _server.Left(_id);
        base.Dispose();
    }

    public override bool AsksProof => _server.Tenants.NeedSecrets;

    protected override long ReceivedBytes => _transport.ReceivedBytes;

    protected override long SentBytes => _transport.SentBytes;

    private ValueBlocks Values => _server.Values;

    protected override void Certify(X509Certificate2 certificate)
    {
        _certified = _server.Tls?.TenantOf(certificate);
        if (_certified is { } tenant && TryAdmit(tenant))
            Bind(tenant);
    }

    protected override void Serve()
    {
        try
        {
            while (!_quit && _reader.Wait())
            {
                BeginFrame();
                ServeRequest();
                if (!_reader.HasMore || _quit)
                    _writer.Flush();
                EndFrame();
            }
        }
        catch (RespProtocolException e)
        {
            _server.Counters.BadFrame();
            LogRejected(Peer, e.Message);
            _writer.Error("ERR " + e.Message);
            _writer.Flush();
        }
    }

    protected override void TellFailure()
    {
        _writer.Error("ERR the silo failed; its log says why");
        _writer.Flush();
    }

    private void ServeRequest()
    {
        var count = _reader.ReadHead();
        if (count == 0)
            return;
        var began = Stopwatch.GetTimestamp();
        _arguments.Clear();
        if (!ReadArguments(1))
        {
            _reader.SkipArguments(count - 1);
            return;
        }

        if (RespCommands.Find(_arguments[0]) is not { } command)
        {
            Unknown(count - 1);
            return;
        }

        if (!Authenticated && !AsksProof && !TryAdmit(TenantRegistry.DefaultTenant))
        {
            RefuseClient();
            return;
        }

        _lastCommand = command.Name;
        if (!command.Takes(count))
            Refuse(count - 1, $"ERR wrong number of arguments for '{command.Name}' command");
        else if (!Authenticated && !command.Anybody)
            Refuse(count - 1, "NOAUTH Authentication required.");
        else if (_queue is not null && !command.EndsQueue)
            Queue(command, count);
        else if (command.Streams || ReadArguments(count - 1))
            Run(command, count);
        _server.Counters.Took(command.Type, Stopwatch.GetElapsedTime(began));
    }

    // What changes keys has them for itself. What reads one waits until nobody has it, and is not kept from others while its answer leaves.
    private void Run(RespCommand command, int count)
    {
        var keys = command.Streams ? 0 : KeysOf(command);
        if (keys == 0)
        {
            command.Run(this, count);
        }
        else if (command.Writes)
        {
            using (_locks.Hold(keys))
                command.Run(this, count);
        }
        else
        {
            _locks.Pass(keys);
            command.Run(this, count);
        }
    }

    private ulong KeysOf(RespCommand command)
    {
        var keys = 0UL;
        if (command.FirstKey == 0)
            return keys;
        var last = command.LastKey < 0 ? _arguments.Count + command.LastKey : command.LastKey;
        for (var i = command.FirstKey; i <= last && i < _arguments.Count; i += command.KeyStep)
            keys |= TryKey(i, out var key) ? KeyLocks.Of(key) : 0;
        return keys;
    }

    // Reads arguments into memory; what is too long for it is read too, so that the connection stays in step, and answered with an error.
    private bool ReadArguments(int count)
    {
        for (; count > 0; count--)
        {
            var length = _reader.ReadLength();
            if (_arguments.Bytes + length > RespArguments.MaxBytes || _arguments.Count == RespArguments.MaxCount)
            {
                _reader.Skip(length);
                _reader.ReadEnd();
                Refuse(count - 1, TooLong);
                return false;
            }

            _reader.ReadExact(_arguments.Add(length));
            _reader.ReadEnd();
        }

        return true;
    }

    private static string TooLong =>
        $"ERR the request is too long: at most {RespArguments.MaxBytes} bytes in {RespArguments.MaxCount} arguments";

    // In a transaction nothing that is refused is left out: nothing of it is done.
    private void Refuse(int argumentsLeft, string error)
    {
        _reader.SkipArguments(argumentsLeft);
        _writer.Error(error);
        if (_queue is not null)
            _queueIsBroken = true;
    }

    private void Unknown(int argumentsLeft)
    {
        var text = new StringBuilder();
        Span<byte> scratch = stackalloc byte[QuotedBytes];
        for (; argumentsLeft > 0 && text.Length < QuotedBytes; argumentsLeft--)
        {
            var length = _reader.ReadLength();
            var quoted = scratch[..Math.Min(length, QuotedBytes)];
            _reader.ReadExact(quoted);
            _reader.Skip(length - quoted.Length);
            _reader.ReadEnd();
            text.Append('\'').Append(Encoding.UTF8.GetString(quoted)).Append("' ");
        }

        var name = _arguments[0];
        Refuse(argumentsLeft,
            $"ERR unknown command '{Encoding.UTF8.GetString(name[..Math.Min(name.Length, QuotedBytes)])}', with args beginning with: {text}");
    }

    private void Bind(string tenant)
    {
        _user = tenant;
        _namespace = _server.Tenants.NamespaceOf(tenant);
        _locks = _server.Tenants.LocksOf(tenant);
        _reader.Trusted = true;
    }

    private void RefuseClient()
    {
        _server.Counters.Rejected();
        _writer.Error("ERR max number of clients reached");
        _quit = true;
    }

    private bool IsKey(ReadOnlySpan<byte> key) => key.Length > 0 && key.Length <= _server.Options.MaxKeyBytes;

    private string BadKey => $"ERR a key has 1 to {_server.Options.MaxKeyBytes} bytes here";

    private BlockKey KeyOf(ReadOnlySpan<byte> key) => new(_namespace, RespKeys.Hash(key));

    // Keys that cannot exist are not stored by anybody.
    private bool TryKey(int index, out BlockKey key)
    {
        key = IsKey(_arguments[index]) ? KeyOf(_arguments[index]) : default;
        return key != default;
    }

    private bool TryInteger(int index, out long value)
    {
        if (_arguments.TryInteger(index, out value))
            return true;
        _writer.Error("ERR value is not an integer or out of range");
        return false;
    }

    private void SyntaxError() => _writer.Error("ERR syntax error");
}
