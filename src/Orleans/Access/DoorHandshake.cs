using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Security.Cryptography;
using System.Text;

namespace KvCache.Orleans.Access;

/// <summary>
/// The mutual proof ahead of Orleans' own bytes, on its silo port and its gateway (docs/security.md): whoever connects proves the secret
/// first, so that an unproven peer gets nothing that depends on it, then the silo does, which at the gateway hands out a ticket.
/// </summary>
/// <remarks>
/// hello: magic (8), door (1), length of the name (2, little-endian), nonce (32), name; challenge: nonce (32); proof: HMAC-SHA-256 (32);
/// answer: 0, or 1 with the silo's proof (32), life of the ticket in seconds (u32, little-endian), its length (1) and the ticket. Each
/// proof covers role, door, both nonces and name.
/// </remarks>
internal static class DoorHandshake
{
    private const int NonceSize = 32, ProofSize = HMACSHA256.HashSizeInBytes, NameAt = 8 + 1, HelloSize = NameAt + 2 + NonceSize;
    private const byte Refused = 0, Accepted = 1;

    private static ReadOnlySpan<byte> Magic => "KVCDOOR1"u8;

    /// <summary>Proves a secret to a silo and has the silo prove it too.</summary>
    /// <param name="transport">The connection, of which nothing was read yet.</param>
    /// <param name="door">The port.</param>
    /// <param name="name">Tenant at the gateway; at the silo port empty.</param>
    /// <param name="secret">The secret.</param>
    /// <param name="cancellationToken">Limit.</param>
    /// <returns>Ticket and its life; at the silo port an empty one.</returns>
    /// <exception cref="DoorRefusedException">The silo has another secret.</exception>
    /// <exception cref="IOException">The connection broke.</exception>
    public static async Task<DoorTicket> ProveAsync(
        IDuplexPipe transport, OrleansDoor door, string name, byte[] secret, CancellationToken cancellationToken)
    {
        var text = Encoding.UTF8.GetBytes(name);
        var nonce = RandomNumberGenerator.GetBytes(NonceSize);
        byte[] hello = [.. Magic, (byte)door, (byte)text.Length, (byte)(text.Length >> 8), .. nonce, .. text];
        await transport.Output.WriteAsync(hello, cancellationToken).ConfigureAwait(false);
        var challenge = await ReadAsync(transport.Input, NonceSize, cancellationToken).ConfigureAwait(false);
        var proof = Proof(secret, isSilo: false, door, nonce, challenge, text);
        await transport.Output.WriteAsync(proof, cancellationToken).ConfigureAwait(false);
        if ((await ReadAsync(transport.Input, 1, cancellationToken).ConfigureAwait(false))[0] != Accepted)
            throw new DoorRefusedException("It does not take the secret.");
        var answer = await ReadAsync(transport.Input, ProofSize + sizeof(uint) + 1, cancellationToken).ConfigureAwait(false);
        proof = Proof(secret, isSilo: true, door, nonce, challenge, text);
        if (!CryptographicOperations.FixedTimeEquals(answer.AsSpan(0, ProofSize), proof))
            throw new DoorRefusedException("It does not know the secret itself.");
        var ticket = await ReadAsync(transport.Input, answer[^1], cancellationToken).ConfigureAwait(false);
        return new DoorTicket(ticket, TimeSpan.FromSeconds(BinaryPrimitives.ReadUInt32LittleEndian(answer.AsSpan(ProofSize))));
    }

    /// <summary>Has a peer prove a secret, and proves it to the peer.</summary>
    /// <param name="transport">The connection, of which nothing was read yet.</param>
    /// <param name="door">The port.</param>
    /// <param name="secretsOf">Secrets that are valid for a name; never empty, so that unknown names fail like wrong secrets.</param>
    /// <param name="ticketFor">Makes the ticket of a name.</param>
    /// <param name="refused">Told the name whose proof is wrong; the peer hears of it when that has ended.</param>
    /// <param name="cancellationToken">Limit.</param>
    /// <returns>The proven name, or null when the proof was wrong.</returns>
    /// <exception cref="IOException">The connection broke, or something else was sent.</exception>
    public static async Task<string?> CheckAsync(
        IDuplexPipe transport,
        OrleansDoor door,
        Func<string, IReadOnlyList<byte[]>> secretsOf,
        Func<string, DoorTicket> ticketFor,
        Func<string, Task> refused,
        CancellationToken cancellationToken)
    {
        var hello = await ReadAsync(transport.Input, HelloSize, cancellationToken).ConfigureAwait(false);
        var length = BinaryPrimitives.ReadUInt16LittleEndian(hello.AsSpan(NameAt));
        if (!hello.AsSpan(0, Magic.Length).SequenceEqual(Magic) || hello[NameAt - 1] != (byte)door || length > CacheNamespace.MaxTextBytes)
            throw new InvalidDataException("It did not begin with the hello of this port.");
        var text = await ReadAsync(transport.Input, length, cancellationToken).ConfigureAwait(false);
        var nonce = hello[(HelloSize - NonceSize)..];
        var challenge = RandomNumberGenerator.GetBytes(NonceSize);
        await transport.Output.WriteAsync(challenge, cancellationToken).ConfigureAwait(false);
        var proof = await ReadAsync(transport.Input, ProofSize, cancellationToken).ConfigureAwait(false);
        var name = Encoding.UTF8.GetString(text);
        var found = secretsOf(name).FirstOrDefault(secret =>
            CryptographicOperations.FixedTimeEquals(proof, Proof(secret, isSilo: false, door, nonce, challenge, text)));
        if (found is null)
        {
            await refused(name).ConfigureAwait(false);
            await transport.Output.WriteAsync(new byte[] { Refused }, cancellationToken).ConfigureAwait(false);
            return null;
        }

        var ticket = ticketFor(name);
        var life = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(life, (uint)ticket.Life.TotalSeconds);
        proof = Proof(found, isSilo: true, door, nonce, challenge, text);
        byte[] answer = [Accepted, .. proof, .. life, checked((byte)ticket.Bytes.Length), .. ticket.Bytes];
        await transport.Output.WriteAsync(answer, cancellationToken).ConfigureAwait(false);
        return name;
    }

    private static byte[] Proof(byte[] secret, bool isSilo, OrleansDoor door, byte[] nonce, byte[] challenge, byte[] name)
    {
        var role = isSilo ? "kvcache.orleans.silo.v1"u8 : "kvcache.orleans.peer.v1"u8;
        byte[] signed = [.. role, (byte)door, .. nonce, .. challenge, .. name];
        return HMACSHA256.HashData(secret, signed);
    }

    private static async Task<byte[]> ReadAsync(PipeReader reader, int bytes, CancellationToken cancellationToken)
    {
        if (bytes == 0)
            return [];
        var result = await reader.ReadAtLeastAsync(bytes, cancellationToken).ConfigureAwait(false);
        if (result.Buffer.Length < bytes)
            throw new EndOfStreamException("It closed the connection before the end of the proof.");
        var taken = result.Buffer.Slice(0, bytes).ToArray();
        reader.AdvanceTo(result.Buffer.GetPosition(bytes));
        return taken;
    }
}

/// <summary>A ticket as it is handed out.</summary>
/// <param name="Bytes">The ticket; empty for none.</param>
/// <param name="Life">How long it is valid.</param>
internal readonly record struct DoorTicket(byte[] Bytes, TimeSpan Life);
