using System.Collections.Concurrent;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using KvCache.Files;
using Microsoft.AspNetCore.Connections;

namespace KvCache.Orleans.Access;

/// <summary>
/// What an Orleans client has of its tenant: the secret, which stays here, and the ticket of the last gateway that took it.
/// </summary>
internal sealed class TenantAccess(string tenant, ClientSecret secret)
{
    private static readonly TimeSpan HandshakeLimit = TimeSpan.FromSeconds(10);

    private readonly ConcurrentDictionary<ConnectionContext, bool> _connections = [];
    private volatile Held? _held;

    /// <summary>Name of the tenant.</summary>
    public string Tenant => tenant;

    /// <summary>Where the secret comes from.</summary>
    public ClientSecret Secret => secret;

    /// <summary>The ticket that calls carry; null before a gateway was reached.</summary>
    public TenantTicket? Ticket => _held?.Ticket;

    /// <summary>Time until a new ticket should be fetched, half of its life before its end; null without a ticket.</summary>
    public TimeSpan? Fresh => _held is { } held ? (held.Life / 2) - Stopwatch.GetElapsedTime(held.Since) : null;

    /// <summary>Whether the ticket has ended.</summary>
    public bool IsOver => _held is { } held && Stopwatch.GetElapsedTime(held.Since) >= held.Life;

    /// <summary>Why no gateway lets this client in; null when one did, or none was reached.</summary>
    public string? Refusal { get; private set; }

    /// <summary>What a renewal proves.</summary>
    public static byte[] RenewalProof(byte[] secret, byte[] ticket)
    {
        byte[] signed = [.. "kvcache.orleans.renew.v1"u8, .. ticket];
        return HMACSHA256.HashData(secret, signed);
    }

    /// <summary>The proof for the present ticket.</summary>
    public byte[] ProveForRenewal() => RenewalProof(SecretOfNow(), Ticket!.Bytes);

    /// <summary>Takes a ticket.</summary>
    public void Take(byte[] ticket, TimeSpan life) => _held = new Held(new TenantTicket { Bytes = ticket }, life, Stopwatch.GetTimestamp());

    /// <summary>Ends the connections to gateways; Orleans makes new ones, each with a proof and a ticket.</summary>
    public void Reconnect()
    {
        foreach (var connection in _connections.Keys)
            connection.Abort();
    }

    /// <summary>Middleware of connections to gateways: the proof goes ahead of Orleans' own bytes.</summary>
    public ConnectionDelegate Prove(ConnectionDelegate next) => async connection =>
    {
        try
        {
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(connection.ConnectionClosed);
            limit.CancelAfter(HandshakeLimit);
            var proving = DoorHandshake.ProveAsync(connection.Transport, OrleansDoor.Gateway, tenant, SecretOfNow(), limit.Token);
            var ticket = await proving.ConfigureAwait(false);
            Take(ticket.Bytes, ticket.Life);
            Refusal = null;
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or InvalidOperationException)
        {
            connection.Abort();
            if (e is not DoorRefusedException)
                throw new ConnectionAbortedException(
                    $"The gateway {connection.RemoteEndPoint} did not end the proof: {e.Message} Where it speaks TLS, the client needs "
                    + "UseTls.", e);
            Refusal = $"The gateway {connection.RemoteEndPoint} refuses the Orleans client of tenant '{tenant}'. {e.Message} "
                + "The tenant is unknown there, or its secret is another one.";
            throw new ConnectionAbortedException(Refusal, e);
        }

        _connections[connection] = true;
        try
        {
            await next(connection).ConfigureAwait(false);
        }
        finally
        {
            _connections.TryRemove(connection, out _);
        }
    };

    private byte[] SecretOfNow() => Encoding.UTF8.GetBytes(secret.Value);

    private sealed record Held(TenantTicket Ticket, TimeSpan Life, long Since);
}
