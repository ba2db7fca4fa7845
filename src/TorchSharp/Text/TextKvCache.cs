using System.Buffers.Binary;
using System.Numerics;
using KvCache.Binary;
using KvCache.TorchSharp.Tensors;
using TorchSharp;

namespace KvCache.TorchSharp;

/// <summary>
/// The simple calls: K and V of one layer under a text prefix. Each (prefix, layer) is its own immediately sealed block.
/// </summary>
/// <remarks>
/// Tensors come in any shape, so two blocks are stored: the payload, which is the lengths of the encoded tensors, the tensors
/// (<see cref="TensorSerializer"/>) and padding to one of few sizes, and a small block that says which size. For engines, <see
/// cref="IKvCache"/> is the faster way.
/// </remarks>
/// <param name="cache">The cache.</param>
/// <param name="tenant">Tenant of the namespace.</param>
/// <param name="model">Model and revision whose tensors these are.</param>
/// <param name="encoding">How tensors are stored; default raw. Float16 and zstd save memory and cost time.</param>
/// <exception cref="ArgumentException">Tenant or model cannot be those of a <see cref="CacheNamespace"/>.</exception>
public sealed class TextKvCache(IKvCache cache, string tenant, string model, TensorEncoding encoding = default)
{
    private readonly IKvCache _cache = cache ?? throw new ArgumentNullException(nameof(cache));
    private const int SizeBlockBytes = 4; // u32 bytes of the payload
    private const int LengthsBytes = 8; // u32 length of encoded K, u32 length of encoded V
    private const int MinPaddedBytes = 1024;

    private readonly CacheNamespace _sizes = NamespaceOf(
        tenant ?? throw new ArgumentNullException(nameof(tenant)), model ?? throw new ArgumentNullException(nameof(model)), "text sizes",
        SizeBlockBytes);

    /// <summary>Stores K and V of one layer.</summary>
    /// <param name="prefix">The text whose KV this is.</param>
    /// <param name="layer">Layer, from 0.</param>
    /// <param name="k">Keys, any shape of up to 8 dimensions; float32, float16, bfloat16 or bytes.</param>
    /// <param name="v">Values, likewise.</param>
    /// <param name="timeToLive">Life; null for as long as memory lasts.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>Whether the layer is stored now, by this call or before.</returns>
    /// <exception cref="ArgumentException">A tensor has an element type or shape that cannot be encoded.</exception>
    public async ValueTask<bool> CacheKvAsync(
        string prefix, int layer, torch.Tensor k, torch.Tensor v, TimeSpan? timeToLive = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentOutOfRangeException.ThrowIfNegative(layer);
        ArgumentNullException.ThrowIfNull(k);
        ArgumentNullException.ThrowIfNull(v);
        byte[] encodedK = Encode(k), encodedV = Encode(v);
        var payload = new byte[PaddedSize(checked(LengthsBytes + encodedK.Length + encodedV.Length))];
        BinaryPrimitives.WriteInt32LittleEndian(payload, encodedK.Length);
        BinaryPrimitives.WriteInt32LittleEndian(payload.AsSpan(4), encodedV.Length);
        encodedK.CopyTo(payload, LengthsBytes);
        encodedV.CopyTo(payload, LengthsBytes + encodedK.Length);
        var size = new byte[SizeBlockBytes];
        BinaryPrimitives.WriteInt32LittleEndian(size, payload.Length);

        // The payload first: a size tells readers that it is there.
        var options = new StoreOptions(timeToLive);
        var stored = await StoreAsync(Payloads(payload.Length), payload).ConfigureAwait(false);
        if (stored.Stored + stored.AlreadyStored == 0)
            return false;
        stored = await StoreAsync(_sizes, size).ConfigureAwait(false);

        // A size that was there may be an older write's, whose payload was evicted since.
        if (stored.AlreadyStored == 1 && await LoadSizeAsync(prefix, layer, cancellationToken).ConfigureAwait(false) != payload.Length)
        {
            await _cache.DeleteAsync(Block(_sizes, prefix, layer), cancellationToken).ConfigureAwait(false);
            stored = await StoreAsync(_sizes, size).ConfigureAwait(false);
        }

        return stored.Stored + stored.AlreadyStored == 1;

        ValueTask<StoreResult> StoreAsync(CacheNamespace ns, byte[] bytes) =>
            _cache.StoreAsync(Block(ns, prefix, layer), 0, [(ReadOnlyMemory<byte>)bytes], options, cancellationToken);
    }

    /// <summary>Reads K and V of one layer.</summary>
    /// <param name="prefix">The text.</param>
    /// <param name="layer">Layer, from 0.</param>
    /// <param name="cancellationToken">Cancels the call.</param>
    /// <returns>New CPU tensors in the shapes and element types that were stored, which go when it is disposed; null when they cannot be
    /// had.</returns>
    public async ValueTask<CachedKv?> GetCachedKvAsync(
        string prefix, int layer, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(prefix);
        ArgumentOutOfRangeException.ThrowIfNegative(layer);
        if (await LoadSizeAsync(prefix, layer, cancellationToken).ConfigureAwait(false) is not { } size)
            return null;
        var payload = new byte[size];
        var result = await _cache.LoadAsync(
            Block(Payloads(size), prefix, layer), 0, [(Memory<byte>)payload], cancellationToken: cancellationToken).ConfigureAwait(false);
        return result.Blocks == 1 ? DecodeBoth(payload) : null;
    }

    private static KvPrefix Block(CacheNamespace ns, string prefix, int layer) =>
        new(ns, PrefixChain.FromHashes([PrefixHasher.HashText(prefix, layer)], ns.Layout.TokensPerBlock));

    private static CacheNamespace NamespaceOf(string tenant, string model, string salt, int bytes) => new()
    {
        Tenant = tenant,
        Model = model,
        Salt = salt,
        Layout = KvLayout.Opaque(bytes, tokensPerBlock: 1),
    };

    // Eight sizes for each power of two: at most an eighth is padding, and a connection opens few namespaces.
    private static int PaddedSize(int bytes)
    {
        if (bytes <= MinPaddedBytes)
            return MinPaddedBytes;
        var step = (int)BitOperations.RoundUpToPowerOf2((uint)bytes) / 16;
        return (bytes + step - 1) / step * step;
    }

    private static CachedKv? DecodeBoth(ReadOnlySpan<byte> payload)
    {
        try
        {
            var reader = new WireReader(payload);
            int lengthK = reader.Count(payload.Length, "length of K"), lengthV = reader.Count(payload.Length, "length of V");
            var k = Decode(reader.Bytes(lengthK));
            try
            {
                return new CachedKv(k, Decode(reader.Bytes(lengthV)));
            }
            catch
            {
                k.Dispose();
                throw;
            }
        }
        catch (KvFormatException)
        {
            return null; // bytes that somebody else stored under this name
        }
    }

    private static torch.Tensor Decode(ReadOnlySpan<byte> encoded)
    {
        var bytes = TensorSerializer.Decode(encoded, out var header, (int)KvLayout.MaxBlockBytes);
        long[] shape = new long[header.Shape.Rank];
        for (var i = 0; i < shape.Length; i++)
            shape[i] = header.Shape[i];
        var tensor = torch.empty(shape, dtype: KvCacheTensorExtensions.ScalarTypeOf(header.DataType)).DetachFromDisposeScope();
        bytes.CopyTo(new TensorMemory(tensor).Memory.Span);
        return tensor;
    }

    private async ValueTask<int?> LoadSizeAsync(string prefix, int layer, CancellationToken cancellationToken)
    {
        var bytes = new byte[SizeBlockBytes];
        var result = await _cache.LoadAsync(Block(_sizes, prefix, layer), 0, [(Memory<byte>)bytes], cancellationToken: cancellationToken)
            .ConfigureAwait(false);
        var size = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        return result.Blocks == 1 && size is >= MinPaddedBytes and <= (uint)KvLayout.MaxBlockBytes ? (int)size : null;
    }

    private CacheNamespace Payloads(int bytes) => NamespaceOf(tenant, model, "text payloads", bytes);

    private byte[] Encode(torch.Tensor tensor)
    {
        var type = tensor.dtype switch
        {
            torch.ScalarType.Float32 => KvDataType.Float32,
            torch.ScalarType.Float16 => KvDataType.Float16,
            torch.ScalarType.BFloat16 => KvDataType.BFloat16,
            torch.ScalarType.Byte => KvDataType.UInt8,
            _ => throw new ArgumentException(
                $"The tensor holds {tensor.dtype}; Float32, Float16, BFloat16 or Byte was expected.", nameof(tensor)),
        };
        using var contiguous = tensor.cpu().contiguous();
        var used = type == KvDataType.Float32 ? encoding : encoding with { Elements = ElementEncoding.Raw };
        return TensorSerializer.Encode(
            new TensorMemory(contiguous).Memory.Span, type,
            new TensorShape(Array.ConvertAll(contiguous.shape, size => checked((int)size))), used);
    }
}
