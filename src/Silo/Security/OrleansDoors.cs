using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Net;
using KvCache.Orleans.Access;
using KvCache.Silo.Accounts;
using KvCache.Silo.Connections;
using KvCache.Silo.Data;
using KvCache.Silo.Hosting;
using KvCache.Silo.Options;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace KvCache.Silo.Security;

/// <summary>
/// The proofs of Orleans' connections, as middleware ahead of Orleans' own bytes: the cluster's secret between silos, a tenant's at the
/// gateway (<see cref="DoorHandshake"/>). What has not proved itself ends after
/// <see cref="OrleansDoorOptions.HandshakeTimeout"/>, whatever it sends, and has a few places, by address; an address that a silo has come
/// from has places of its own, which strangers cannot take.
/// </summary>
internal sealed partial class OrleansDoors(
    ClusterSecrets secrets,
    TenantRegistry tenants,
    TicketOffice tickets,
    ClusterEntry entry,
    TenantQuotas quotas,
    AuditLog audit,
    ILocalSiloDetails silo,
    IOptions<OrleansDoorOptions> options,
    ILogger<OrleansDoors> logger)
    : IDisposable
{
    private const int MaxPreambleBytes = 1024; // Orleans' own limit
    private static readonly TimeSpan PartingTime = TimeSpan.FromSeconds(1);

    private readonly UnprovenConnections<ConnectionContext> _strangers =
        new(options.Value.MaxUnproven, options.Value.MaxUnprovenPerAddress);
    private readonly UnprovenConnections<ConnectionContext> _silos = new(options.Value.MaxUnproven, options.Value.MaxUnprovenPerAddress);
    private readonly UnprovenConnections<ConnectionContext> _clients = new(options.Value.MaxUnproven, options.Value.MaxUnprovenPerAddress);
    private readonly GatewayClients _admitted = new(options.Value.MaxClients, quotas);
    private readonly ConcurrentDictionary<IPAddress, bool> _silosCameFrom = new();

    public void Dispose() => _admitted.Dispose();

    /// <summary>Says at start where no secret is asked for.</summary>
    public void TellWhatIsOpen()
    {
        if (secrets.Own.Length == 0)
            LogNoSecret();
    }

    /// <summary>Gives incoming connections of other silos their places, before anything is done for them: also before TLS.</summary>
    public ConnectionDelegate PlaceSilo(ConnectionDelegate next) => connection =>
        PlaceAsync(connection, _silosCameFrom.ContainsKey(OriginOf(connection)) ? _silos : _strangers, next);

    /// <summary>The same for incoming connections of Orleans clients.</summary>
    public ConnectionDelegate PlaceClient(ConnectionDelegate next) => connection => PlaceAsync(connection, _clients, next);

    /// <summary>Incoming connections of other silos.</summary>
    public ConnectionDelegate AcceptSilo(ConnectionDelegate next) => connection =>
        AcceptAsync(connection, OrleansDoor.Silo, name => name.Length == 0 ? secrets.All : [], _ => new DoorTicket([], default), next);

    /// <summary>Incoming connections of Orleans clients.</summary>
    public ConnectionDelegate AcceptClient(ConnectionDelegate next) => connection =>
        AcceptAsync(connection, OrleansDoor.Gateway, tenants.ClientSecretsOf, tickets.Issue, next);

    /// <summary>Outgoing connections to other silos.</summary>
    public ConnectionDelegate ConnectSilo(ConnectionDelegate next) => async connection =>
    {
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(connection.ConnectionClosed);
            limit.CancelAfter(options.Value.HandshakeTimeout);
            await DoorHandshake.ProveAsync(connection.Transport, OrleansDoor.Silo, "", secrets.Own, limit.Token);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or InvalidOperationException)
        {
            connection.Abort();
            var sentence = $"The silo {connection.RemoteEndPoint} does not let this one in. {e.Message} "
                + $"{ClusterOptions.Section}:Secret has to be the same on every silo of the cluster.";
            if (e is not DoorRefusedException)
                throw new ConnectionAbortedException($"The silo {connection.RemoteEndPoint} did not end the proof: {e.Message}", e);
            entry.Refuse(sentence);
            LogNotLetIn(sentence);
            throw new ConnectionAbortedException(sentence, e);
        }

        entry.Enter();
        await next(connection);
    };

    private async Task AcceptAsync(
        ConnectionContext connection,
        OrleansDoor door,
        Func<string, IReadOnlyList<byte[]>> secretsOf,
        Func<string, DoorTicket> ticketFor,
        ConnectionDelegate next)
    {
        string? reason = "its proof is wrong", name = null;
        byte[] preamble = [];
        var address = (connection.RemoteEndPoint as IPEndPoint)?.Address;
        var place = (Place)connection.Items[typeof(Place)]!;
        try
        {
            var limit = place.BeginProof();
            name = await DoorHandshake.CheckAsync(
                connection.Transport, door, secretsOf, ticketFor,
                wrong => Task.Delay(
                    audit.Refused($"Orleans' {door} port", address, wrong, options.Value.HandshakeTimeout / 2), limit),
                limit);
            if (name is null)
                await PartAsync(connection);
            else if (door == OrleansDoor.Gateway)
            {
                preamble = await PreambleAsync(connection.Transport.Input, limit);
                reason = NamesASilo(preamble) ? "it takes the name of a silo" : null;
            }
            else
                reason = null;
        }
        catch (OperationCanceledException)
        {
            reason = "it did not end its proof in time";
        }
        catch (Exception e) when (e is IOException or InvalidOperationException)
        {
            reason = e.Message;
        }
        finally
        {
            place.Leave();
        }

        if (reason is null && door == OrleansDoor.Silo)
            _silosCameFrom[OriginOf(connection)] = true; // who knows the secret is no stranger: there are as many as silos
        else if (reason is null && !_admitted.TryAdd(connection, name!))
            reason = $"the tenant '{name}' has all the connections that it may have";
        if (reason is null)
        {
            try
            {
                if (door == OrleansDoor.Silo)
                    await next(connection);
                else
                    reason = await ServeAsync(connection, name!, preamble, next);
            }
            finally
            {
                _admitted.Remove(connection);
            }

            if (reason is null)
                return;
        }

        LogTurnedAway(connection.RemoteEndPoint?.ToString() ?? "somebody", door, reason);
        connection.Abort();
    }

    private async Task<string?> ServeAsync(ConnectionContext connection, string tenant, byte[] preamble, ConnectionDelegate next)
    {
        using var messages = new ClientMessages(TenantId.Of(tenant), silo.GatewayAddress, preamble);
        return await messages.RunAsync(connection, next);
    }

    private async Task PlaceAsync(ConnectionContext connection, UnprovenConnections<ConnectionContext> unproven, ConnectionDelegate next)
    {
        unproven.Add(connection, (connection.RemoteEndPoint as IPEndPoint)?.Address)?.Abort(
            new ConnectionAbortedException("Its place is needed, and it has not proved who it is."));
        using var place = new Place(connection, unproven, options.Value.HandshakeTimeout);
        connection.Items[typeof(Place)] = place;
        await next(connection);
    }

    private static IPAddress OriginOf(ConnectionContext connection) =>
        UnprovenConnections<ConnectionContext>.OriginOf((connection.RemoteEndPoint as IPEndPoint)?.Address);

    // An abort drops what was not sent yet, and a peer with a wrong secret should hear that it is wrong: it closes the connection then.
    private static async Task PartAsync(ConnectionContext connection)
    {
        using var limit = new CancellationTokenSource(PartingTime);
        await connection.Transport.Output.CompleteAsync();
        try
        {
            await connection.Transport.Input.ReadAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            // It did not.
        }
    }

    // With its length, and left where it is.
    private static async Task<byte[]> PreambleAsync(PipeReader reader, CancellationToken cancellationToken)
    {
        var head = await reader.ReadAtLeastAsync(sizeof(int), cancellationToken);
        if (head.Buffer.Length < sizeof(int))
            throw new EndOfStreamException("it closed the connection behind its proof");
        var length = BinaryPrimitives.ReadInt32LittleEndian(head.Buffer.Slice(0, sizeof(int)).ToArray());
        reader.AdvanceTo(head.Buffer.Start);
        if (length is < 0 or > MaxPreambleBytes)
            throw new InvalidDataException($"it sent a preamble of {length} bytes");
        var preamble = await reader.ReadAtLeastAsync(sizeof(int) + length, cancellationToken);
        if (preamble.Buffer.Length < sizeof(int) + length)
            throw new EndOfStreamException("it closed the connection in its preamble");
        var bytes = preamble.Buffer.Slice(0, sizeof(int) + length).ToArray();
        reader.AdvanceTo(preamble.Buffer.Start);
        return bytes;
    }

    // A client says in its preamble who it is. As a silo's own client it would get the answers to that silo's calls, and the mark that goes
    // with them.
    private static bool NamesASilo(byte[] preamble) => preamble.AsSpan().IndexOf("hosted-"u8) >= 0;

    [LoggerMessage(
        Level = LogLevel.Warning,
        Message = "KvCache:Cluster:Secret is empty: every user of this machine can join the cluster and read every block. That is fit for "
            + "a machine with one user")]
    private partial void LogNoSecret();

    [LoggerMessage(
        Level = LogLevel.Warning,
        EventName = BoundedLog.Strangers + "TurnedAway",
        Message = "{Peer} was turned away at Orleans' {Door} port: {Reason}")]
    private partial void LogTurnedAway(string peer, OrleansDoor door, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Sentence}")]
    private partial void LogNotLetIn(string sentence);

    /// <summary>What a connection has that has not proved who it is: a place, and so much time for TLS and proof together.</summary>
    private sealed class Place : IDisposable
    {
        private readonly ConnectionContext _connection;
        private readonly UnprovenConnections<ConnectionContext> _unproven;
        private readonly CancellationTokenSource _limit;
        private volatile bool _isHeard; // whoever reads the proof sees that its time is over

        public Place(ConnectionContext connection, UnprovenConnections<ConnectionContext> unproven, TimeSpan limit)
        {
            _connection = connection;
            _unproven = unproven;
            _limit = CancellationTokenSource.CreateLinkedTokenSource(connection.ConnectionClosed);
            _limit.Token.UnsafeRegister(static place => ((Place)place!).End(), this);
            _limit.CancelAfter(limit);
        }

        /// <summary>The proof begins.</summary>
        /// <returns>Its limit.</returns>
        public CancellationToken BeginProof()
        {
            _isHeard = true;
            return _limit.Token;
        }

        /// <summary>The proof has ended.</summary>
        public void Leave()
        {
            _limit.CancelAfter(Timeout.InfiniteTimeSpan);
            _unproven.Remove(_connection);
        }

        public void Dispose()
        {
            _unproven.Remove(_connection);
            _limit.Dispose();
        }

        private void End()
        {
            if (!_isHeard)
                _connection.Abort(new ConnectionAbortedException("It did not end its handshake in time."));
        }
    }
}
