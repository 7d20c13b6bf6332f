/* musl-true: ends well. A program of musl's, which has another loader than glibc's. */
int main(void)
{
    return 0;
}
