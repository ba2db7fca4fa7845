using System.Runtime.CompilerServices;

namespace KvCache;

/// <summary>Shape of a tensor: 0 to 8 dimensions, outermost first, kept in place so that reading a header allocates nothing.</summary>
/// <remarks>The default value is the shape of a scalar: no dimensions, one element.</remarks>
public readonly struct TensorShape : IEquatable<TensorShape>
{
    /// <summary>Most dimensions of a shape.</summary>
    public const int MaxRank = 8;

    private readonly Dimensions _dimensions;
    private readonly byte _rank;

    /// <summary>Creates a shape.</summary>
    /// <param name="dimensions">Elements along every dimension, outermost first; 0 to <see cref="MaxRank"/> entries, none negative.</param>
    /// <exception cref="ArgumentException">
    /// There are too many dimensions, one is negative, or there are more elements than a block has bytes (<see
    /// cref="KvLayout.MaxBlockBytes"/>).
    /// </exception>
    public TensorShape(params ReadOnlySpan<int> dimensions)
    {
        if (!TryCreate(dimensions, out this, out var reason))
            throw new ArgumentException(reason, nameof(dimensions));
    }

    private TensorShape(ReadOnlySpan<int> dimensions, int elements)
    {
        dimensions.CopyTo(_dimensions);
        _rank = (byte)dimensions.Length;
        // A scalar has one element, yet default(TensorShape) is all zeros: store the distance from one.
        ElementsMinusOne = elements - 1;
    }

    /// <summary>Number of dimensions, 0 to <see cref="MaxRank"/>.</summary>
    public int Rank => _rank;

    /// <summary>Number of elements: the product of the dimensions, 1 for a scalar.</summary>
    public int Elements => ElementsMinusOne + 1;

    private int ElementsMinusOne { get; }

    /// <summary>Elements along one dimension.</summary>
    /// <param name="dimension">Index of the dimension, 0 = outermost.</param>
    /// <exception cref="ArgumentOutOfRangeException">The shape has no such dimension.</exception>
    public int this[int dimension]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(dimension);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(dimension, Rank);
            return _dimensions[dimension];
        }
    }

    /// <summary>The dimensions as a new array, outermost first.</summary>
    public int[] ToArray() => ((ReadOnlySpan<int>)_dimensions)[..Rank].ToArray();

    /// <inheritdoc/>
    public bool Equals(TensorShape other) => Rank == other.Rank && ((ReadOnlySpan<int>)_dimensions).SequenceEqual(other._dimensions);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is TensorShape other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = new HashCode();
        foreach (var dimension in _dimensions)
            hash.Add(dimension);
        hash.Add(Rank);
        return hash.ToHashCode();
    }

    /// <inheritdoc/>
    public override string ToString() => $"[{string.Join(", ", ToArray())}]";

    /// <summary>Whether two shapes have the same dimensions.</summary>
    public static bool operator ==(TensorShape left, TensorShape right) => left.Equals(right);

    /// <summary>Whether two shapes differ.</summary>
    public static bool operator !=(TensorShape left, TensorShape right) => !left.Equals(right);

    internal static bool TryCreate(ReadOnlySpan<int> dimensions, out TensorShape shape, out string? reason)
    {
        shape = default;
        reason = null;
        if (dimensions.Length > MaxRank)
        {
            reason = $"A shape has at most {MaxRank} dimensions, got {dimensions.Length}.";
            return false;
        }

        // An empty dimension is looked for first, so that the answer does not depend on the order of the dimensions.
        var elements = dimensions.Contains(0) ? 0L : 1L;
        foreach (var dimension in dimensions)
        {
            if (dimension < 0)
            {
                reason = $"Dimensions of a shape are not negative, got {dimension}.";
                return false;
            }

            elements *= dimension; // at most 2^30 * 2^31 before the check: no overflow
            if (elements > KvLayout.MaxBlockBytes)
            {
                reason = $"A shape has at most {KvLayout.MaxBlockBytes:N0} elements; [{string.Join(", ", dimensions.ToArray())}] has more.";
                return false;
            }
        }

        shape = new TensorShape(dimensions, (int)elements);
        return true;
    }

    [InlineArray(MaxRank)]
    private struct Dimensions
    {
        private int _first;
    }
}
