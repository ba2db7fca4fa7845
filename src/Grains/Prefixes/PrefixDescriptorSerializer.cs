using System.Buffers.Binary;
using KvCache.Binary;
using KvCache.Checksums;
using Orleans.Storage;

namespace KvCache.Grains.Prefixes;

/// <summary>
/// Binary form of <see cref="PrefixDescriptor"/> in grain storage: version, end of the pin in Unix milliseconds, and the CRC-32 of both.
/// </summary>
/// <remarks>
/// What cannot be read, because it is damaged or of a newer version, is an empty descriptor and no error: the grain then knows nothing, and
/// what it writes next replaces it.
/// </remarks>
internal sealed class PrefixDescriptorSerializer : IGrainStorageSerializer
{
    private const byte Version = 2;

    /// <inheritdoc/>
    public BinaryData Serialize<T>(T? input)
    {
        if (input is not PrefixDescriptor descriptor)
            throw new NotSupportedException(
                $"The storage '{PrefixDescriptor.StorageName}' keeps {nameof(PrefixDescriptor)}, not {typeof(T)}.");
        var writer = new WireWriter(64);
        writer.UInt8(Version);
        writer.UInt64((ulong)descriptor.PinnedUntil.ToUnixTimeMilliseconds());
        writer.UInt32(BlockChecksum.Compute(writer.Written));
        return BinaryData.FromBytes(writer.Written.ToArray());
    }

    /// <inheritdoc/>
    public T? Deserialize<T>(BinaryData input)
    {
        if (typeof(T) != typeof(PrefixDescriptor))
            throw new NotSupportedException(
                $"The storage '{PrefixDescriptor.StorageName}' keeps {nameof(PrefixDescriptor)}, not {typeof(T)}.");
        return (T)(object)Read(input.ToMemory().Span);
    }

    private static PrefixDescriptor Read(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < sizeof(uint)
            || BinaryPrimitives.ReadUInt32LittleEndian(bytes[^sizeof(uint)..]) != BlockChecksum.Compute(bytes[..^sizeof(uint)]))
            return new PrefixDescriptor();
        try
        {
            var reader = new WireReader(bytes[..^sizeof(uint)]);
            if (reader.UInt8() != Version)
                return new PrefixDescriptor();
            var descriptor = new PrefixDescriptor
            {
                PinnedUntil = DateTimeOffset.FromUnixTimeMilliseconds((long)reader.UInt64()),
            };
            reader.End();
            return descriptor;
        }
        catch (Exception e) when (e is KvFormatException or ArgumentOutOfRangeException)
        {
            return new PrefixDescriptor();
        }
    }
}
