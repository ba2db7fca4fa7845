namespace KvCache.Eviction;

/// <summary>
/// An array that grows by pages, so that what is in it stays where it is: whoever holds a lock while it grows waits for one page and not
/// for a copy of all. Below a page it grows like any other.
/// </summary>
/// <param name="length">Elements at first.</param>
internal struct PagedArray<T>(int length)
{
    private const int PageBits = 10, PageLength = 1 << PageBits;

    private T[][] _pages = NewPages([], length);

    /// <summary>Elements.</summary>
    public int Length { get; private set; } = length;

    /// <summary>How long it should be when it has this many elements and needs more.</summary>
    public readonly int NextLength => Length < PageLength ? Math.Max(16, 2 * Length) : Length + PageLength;

    /// <summary>An element.</summary>
    public readonly ref T this[int index] => ref _pages[index >> PageBits][index & (PageLength - 1)];

    /// <summary>Adds elements.</summary>
    public void Grow(int length)
    {
        if (length <= Length)
            return;
        _pages = NewPages(_pages, length);
        Length = length;
    }

    private static T[][] NewPages(T[][] old, int length)
    {
        var pages = new T[(length + PageLength - 1) >> PageBits][];
        old.CopyTo(pages, 0);
        for (var page = Math.Max(0, old.Length - 1); page < pages.Length; page++)
        {
            var least = Math.Min(PageLength, length - (page << PageBits));
            if (pages[page] is null)
                pages[page] = new T[least];
            else if (pages[page].Length < least)
                Array.Resize(ref pages[page], least);
        }

        return pages;
    }
}
